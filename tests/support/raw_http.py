"""A client that sends what no library would: raw bytes, slowly, too many, cut off; and how the loop bears it."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from urllib.parse import urlsplit

PATIENCE_SECONDS = 90.0

PAUSE_SECONDS = 0.005
"""Between two looks at the loop."""

BOUNDARY = b"b"

FORM = "Content-Type: multipart/form-data; boundary=b"


def request(*headers: str, body: bytes = b"", line: str = "POST /api/v1/search HTTP/1.1") -> bytes:
    """A whole request that ends its connection; headers may be anything."""
    head = "\r\n".join([line, "Host: facepass.test", "Connection: close", *headers, "", ""])
    return head.encode("latin-1") + body


def form_request(body: bytes, *headers: str, content_type: str = FORM) -> bytes:
    return request(content_type, f"Content-Length: {len(body)}", *headers, body=body)


def part(disposition: bytes, data: bytes) -> bytes:
    return b"--b\r\nContent-Disposition: form-data; " + disposition + b"\r\n\r\n" + data + b"\r\n"


def search_body(session_id: str, selfie: bytes) -> bytes:
    return part(b'name="session_id"', session_id.encode()) + part(b'name="file"', selfie) + b"--b--\r\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came back until the server closed the connection: status 0 where it said nothing."""

    status: int
    text: str


async def open_to(url: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection(urlsplit(url).hostname, urlsplit(url).port)


async def send(url: str, data: bytes) -> Answer:
    """Send all at once, read to the end."""
    return (await send_on(url, [data]))[0]


async def send_on(url: str, blocks: Iterable[bytes]) -> tuple[Answer, int]:
    """Send block by block for as long as the server takes them; its answer, and how many bytes were sent."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        reader, writer = await open_to(url)
        writer.transport.set_write_buffer_limits(high=0)
        answering = asyncio.create_task(_read(reader))
        sent = 0
        with suppress(ConnectionError):
            for block in blocks:
                if answering.done():
                    break
                writer.write(block)
                await writer.drain()
                sent += len(block)
        answer = await answering
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()
        return answer, sent


async def _read(reader: asyncio.StreamReader) -> Answer:
    data = bytearray()
    with suppress(ConnectionError):
        while received := await reader.read(65536):
            data += received
    text = data.decode("utf-8", "replace")
    status = int(text.split(" ", 2)[1]) if text.startswith("HTTP/1.1 ") else 0
    return Answer(status=status, text=text)


@dataclass(slots=True)
class Lag:
    """The longest time that the event loop was busy before it let the next task run.

    Attributes:
        busy: processor time of the loop's thread, seconds: others may take the cores, and it does not grow. What
            the loop does in one of our pauses, 5 ms, is in it.
        passed: seconds that passed, those when others had the cores included.
    """

    busy: float = 0.0
    passed: float = 0.0


@asynccontextmanager
async def loop_lag() -> AsyncIterator[Lag]:
    """Measure the running event loop for the time of the block."""
    lag = Lag()

    async def tick() -> None:
        while True:
            busy, passed = time.thread_time(), time.perf_counter()
            await asyncio.sleep(PAUSE_SECONDS)
            lag.busy = max(lag.busy, time.thread_time() - busy)
            lag.passed = max(lag.passed, time.perf_counter() - passed - PAUSE_SECONDS)

    ticking = asyncio.create_task(tick())
    try:
        yield lag
    finally:
        ticking.cancel()
        await asyncio.wait([ticking])
        if ticking.done() and not ticking.cancelled():
            ticking.result()
