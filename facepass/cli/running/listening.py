"""The sockets that `facepass serve` listens on."""

import socket

from facepass.schemas.errors import ErrorCode, PermanentError


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
