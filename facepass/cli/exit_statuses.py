"""The exit statuses of `facepass`, for supervisors and scripts."""

from facepass.schemas.errors import ErrorCode, FacePassError

EXIT_STATUSES = {ErrorCode.TOO_MANY_DEAD_LETTERS: 3, ErrorCode.STALLED: 4}
"""A supervisor starts a worker again after 4; after 3 somebody has to look first. Everything else is 1."""


def exit_status(error: BaseException | None) -> int:
    """The status of a process that ends with `error`."""
    if isinstance(error, FacePassError):
        return EXIT_STATUSES.get(error.code, 1)
    return 0 if error is None else 1
