"""A TCP proxy on the loopback between a process and its Kafka or PostgreSQL: what is cut is cut here."""

import asyncio
from collections.abc import Awaitable, Callable

from faults.loop_thread import LoopThread

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
_CHUNK = 1 << 16


def tcp_target(host: str, port: int) -> Callable[[], Awaitable[Streams]]:
    return lambda: asyncio.open_connection(host, port)


def unix_target(path: Callable[[], str]) -> Callable[[], Awaitable[Streams]]:
    return lambda: asyncio.open_unix_connection(path())


class TcpProxy:
    """Forwards a port of 127.0.0.1. Every method may be called from any thread."""

    def __init__(self, loop: LoopThread, target: Callable[[], Awaitable[Streams]], port: int = 0) -> None:
        self._loop = loop
        self._target = target
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._refuses = False
        self._flows = asyncio.Event()
        self._flows.set()
        self._server = loop.run(asyncio.start_server(self._serve, "127.0.0.1", port))
        self.port: int = self._server.sockets[0].getsockname()[1]

    def cut(self) -> None:
        """Reset every connection and accept no other, as a cable pulled with a firewall that answers."""
        self._refuses = True
        self.drop()

    def stall(self) -> None:
        """Keep connections open and carry nothing, as a cable pulled without an answer."""
        self._loop.run(self._set_flow(flows=False))

    def mend(self) -> None:
        """Forward again."""
        self._refuses = False
        self._loop.run(self._set_flow(flows=True))

    def drop(self) -> None:
        """Reset every connection once."""
        self._loop.run(self._abort_all())

    def close(self) -> None:
        self._refuses = True
        self._loop.run(self._end())

    async def _end(self) -> None:
        self._server.close()
        await self._abort_all()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _set_flow(self, *, flows: bool) -> None:
        if flows:
            self._flows.set()
        else:
            self._flows.clear()

    async def _abort_all(self) -> None:
        for writer in list(self._writers):
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self._forward(reader, writer)
        finally:
            self._tasks.discard(task)

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._refuses:
            writer.transport.abort()
            return
        try:
            there, back = await self._target()
        except OSError:
            writer.transport.abort()
            return
        self._writers |= {writer, back}
        try:
            await asyncio.gather(self._pump(reader, back), self._pump(there, writer))
        finally:
            for end in (writer, back):
                self._writers.discard(end)
                end.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One direction; an orderly end is passed on as one, a reset resets the other side too."""
        try:
            while chunk := await reader.read(_CHUNK):
                await self._flows.wait()
                writer.write(chunk)
                await writer.drain()
            await self._flows.wait()
            writer.write_eof()
        except OSError:
            writer.transport.abort()
