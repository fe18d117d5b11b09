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


def listen(host: str, port: int, option: str) -> socket.socket:
    """A socket that listens on host:port.

    Raises:
        PermanentError: `invalid_setting`, naming the command's option.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        server = socket.create_server((host, port), family=family, backlog=1024)
    except OSError as exc:
        reason = exc.strerror or str(exc)
        raise PermanentError(
            ErrorCode.INVALID_SETTING, f"{option}: cannot listen on {host}:{port}: {reason}", setting=option
        ) from exc
    # Every connection inherits it. asyncio would set it only on sockets that were made with a protocol number;
    # without it, an answer sent as head and body waits 40 ms for the client's acknowledgement of the head.
    server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return server


def reachable(host: str) -> str:
    """The address that reaches a listener on `host` from this machine: a wildcard is none."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - compared, not bound


def bracketed(host: str) -> str:
    """As it stands before `:port`."""
    return f"[{host}]" if ":" in host else host


def check_port(host: str, port: int, option: str) -> None:
    """Check that host:port can be listened on, before anything is started; raises as `listen`."""
    listen(host, port, option).close()
