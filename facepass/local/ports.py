"""TCP ports of this machine."""

import socket
from collections import deque

from facepass.schemas.errors import ErrorCode, PermanentError

_given: deque[int] = deque(maxlen=1000)
"""Ports that somebody here is about to listen on: the system may offer the same one twice in a row."""


def free_port(host: str = "127.0.0.1") -> int:
    """A port that nobody listens on right now, and none of the last thousand given."""
    while True:
        with socket.create_server((host, 0)) as server:
            port: int = server.getsockname()[1]
        if port not in _given:
            _given.append(port)
            return port


def reachable(host: str) -> str:
    """The address that reaches a listener on `host` from this machine: a wildcard is none."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - compared, not bound


def bracketed(host: str) -> str:
    """The host as it stands before `:port`."""
    return f"[{host}]" if ":" in host else host


def check_port(host: str, port: int, option: str) -> None:
    """Check that host:port can be listened on, before anything is started.

    Raises:
        PermanentError: `invalid_setting`, naming the command's option.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        socket.create_server((host, port), family=family).close()
    except OSError as exc:
        reason = exc.strerror or str(exc)
        raise PermanentError(
            ErrorCode.INVALID_SETTING, f"{option}: cannot listen on {host}:{port}: {reason}", setting=option
        ) from exc
