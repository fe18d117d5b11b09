"""No core dumps: what holds photos, selfies and vectors in memory leaves none of them on a disk in a crash."""

import resource

from facepass.schemas.logs import get_logger

_log = get_logger(__name__)


def forbid_core_dumps() -> None:
    """Let this process, and those that it starts, write no core file.

    A program that takes core dumps instead is told the same limit: systemd-coredump and apport heed it.
    """
    try:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    except OSError as exc:
        _log.warning("core_dumps_not_forbidden", reason=exc.strerror)
