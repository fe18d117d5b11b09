"""How much of a connection is read before others have their turn."""

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

_READ_BYTES = 64 * 1024
"""Read at once, instead of asyncio's 256 KiB. What was read is parsed in one go, in Python: 256 KiB of chunks of
one byte hold the loop for most of a second. Selfies gain, because fresh buffers of 256 KiB cost more than they
spare: 4 MB take a third of the loop's time that they took with asyncio's; with 32 KiB a half, with 8 KiB more."""


class BoundedReads(H11Protocol):
    """uvicorn's HTTP protocol, taking turns. Its own access log is off: one line a request comes from the
    application, and uvicorn's cannot write the path of an id with a slash."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.access_log = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client connected."""
        transport.max_size = _READ_BYTES  # type: ignore[attr-defined]  # of asyncio's transports for sockets
        super().connection_made(transport)
