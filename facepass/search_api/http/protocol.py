"""The protocol of a connection: how much is read before others have their turn, how answers are written."""

import asyncio
import threading
from collections.abc import Sequence
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

MOST_HEAD_BYTES = 64 * 1024
"""Of a request's line and headers, for h11: uvicorn's own limit is lower, and holds only for what happens to be
read in several pieces."""

_READ_BYTES = 512 * 1024
"""Read at once of a body whose length was announced, which nothing parses here, into a buffer that is there. Each
piece costs the event loop a turn and a way through all that surrounds a request: to a selfie of 0.5 MB HTTP added
6 to 7 % more with 256 KiB, and another 8 % with 64 KiB."""

_UNANNOUNCED_READ_BYTES = 16 * 1024
"""Read at once of all else. It is parsed in one go, in Python, and a body may come in chunks of one byte: 256 KiB
of them held the loop for most of a second."""


class Connection(h11.Connection):
    """h11's connection, whose bodies of announced length pass by h11's buffer: it copies each three times.

    Attributes:
        awaited: bytes that are still to come of such a body.
    """

    def __init__(self) -> None:
        super().__init__(h11.SERVER, MOST_HEAD_BYTES)
        self.awaited = 0
        self._body = memoryview(b"")
        self._head: Sequence[bytes] = ()

    # uvicorn's `H11Protocol` calls these: the last one by way of h11's `send`.
    def receive_data(self, data: bytes | memoryview) -> None:
        """The same as h11's. What belongs to a body is the next event's, and has to stay as it is until then."""
        received = memoryview(data)
        if received and self.awaited:  # then h11 has none of it left
            self._body, received = received[: self.awaited], received[self.awaited :]
            if not received:
                return
        super().receive_data(received)  # type: ignore[arg-type]  # it takes any bytes-like

    def next_event(self) -> h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]:
        """The same as h11's."""
        if self._body:
            body, self._body = self._body, memoryview(b"")
            self.awaited -= len(body)
            self._reader._remaining -= len(body)  # type: ignore[union-attr]  # h11 has no other way to tell it
            return h11.Data(data=body)  # type: ignore[arg-type]  # any bytes-like
        event = super().next_event()
        if isinstance(event, h11.Request):
            headers = dict(event.headers)
            chunked = b"transfer-encoding" in headers  # then a length, if there is one too, means nothing
            self.awaited = 0 if chunked else int(headers.get(b"content-length", b"0"))
        elif isinstance(event, h11.Data):
            self.awaited = max(self.awaited - len(event.data), 0)
        return event

    def send_with_data_passthrough(self, event: h11.Event) -> list[bytes] | None:
        """The same as h11's, but the head of an answer that says its length waits for what follows it: two writes
        wake the client twice. Such an answer is whole when it begins; one without a length may take its time."""
        data = super().send_with_data_passthrough(event)
        if isinstance(event, h11.Response) and b"content-length" in dict(event.headers):
            self._head, data = data or (), []
        elif self._head and data is not None:
            self._head, data = (), [*self._head, *data]
        return data


class _Buffer(threading.local):
    """The buffer of a thread, so of an event loop: what was read into it is copied before the loop reads again."""

    def __init__(self) -> None:
        self.view = memoryview(bytearray(_READ_BYTES))


_buffer = _Buffer()


class BoundedReads(H11Protocol, asyncio.BufferedProtocol):
    """uvicorn's HTTP protocol, taking turns. Its own access log is off: one line a request comes from the
    application, and uvicorn's cannot write the path of an id with a slash."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.access_log = False
        self.conn: Connection = Connection()

    # asyncio calls these two for every piece that arrives.
    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - asyncio gives no hint
        """The place that the next piece is to be read to, and so how long it may be."""
        return _buffer.view[: max(self.conn.awaited, _UNANNOUNCED_READ_BYTES)]

    def buffer_updated(self, nbytes: int) -> None:
        """Take what was read: a part of a request, or of several."""
        self.data_received(_buffer.view[:nbytes])  # type: ignore[arg-type]  # h11 takes any bytes-like
