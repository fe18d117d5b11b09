"""How much of a connection is read before others have their turn."""

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

MOST_HEAD_BYTES = 64 * 1024
"""Of a request's line and headers, for uvicorn's `h11_max_incomplete_event_size`: its own limit is lower, and
holds only for what happens to be read in several pieces."""

_READ_BYTES = 64 * 1024
"""Read at once of a body whose length was announced, instead of asyncio's 256 KiB. Fresh buffers of 256 KiB cost
more than they spare: 4 MB take a third of the loop's time that they took with those; with 16 KiB most of it."""

_UNANNOUNCED_READ_BYTES = 16 * 1024
"""Read at once of all else. It is parsed in one go, in Python, and a body may come in chunks of one byte: 256 KiB
of them held the loop for most of a second."""


class BoundedReads(H11Protocol):
    """uvicorn's HTTP protocol, taking turns. Its own access log is off: one line a request comes from the
    application, and uvicorn's cannot write the path of an id with a slash."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.access_log = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client connected."""
        super().connection_made(transport)
        self._read_at_once(_UNANNOUNCED_READ_BYTES)

    def data_received(self, data: bytes) -> None:
        """Some of a request, or of several."""
        super().data_received(data)
        announced = any(name == b"content-length" for name, _ in self.headers or ())
        self._read_at_once(_READ_BYTES if announced else _UNANNOUNCED_READ_BYTES)

    def _read_at_once(self, size: int) -> None:
        self.transport.max_size = size  # type: ignore[attr-defined]  # of asyncio's transports for sockets
