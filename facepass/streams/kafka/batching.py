"""Events of a Faust stream in batches, none of them acknowledged.

Not Faust's `take`: it acknowledges what it handed out when it is cancelled, so a stop in the middle of a batch
would commit what nobody had finished. Nor its `noack_take`: that looks for events at every end of its waiting time
(100 times a second for 10 ms, all day), lets an event wait for that, and with no waiting time waits until a batch
is full, if that takes for ever.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from typing import Any


async def batches(stream: Any, *, size: int, within: float) -> AsyncIterator[Sequence[Any]]:
    """Batches of one to `size` events. While one is worked on, no more than one event is read ahead.

    Args:
        stream: of an agent. Each event is to be acknowledged by whoever is done with it.
        within: how long a batch may wait to fill after its first event, seconds.
    """
    collected = _Collected(size)
    # A task of its own, which fills `collected` while a batch is wanted.
    reading = asyncio.create_task(collected.read(stream), name="batches")
    try:
        while batch := await collected.batch(within):
            yield batch
        await reading  # the stream has ended; by an error, if by one
    finally:
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)


class _Collected:
    """The events of the next batch, as they arrive."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._events: list[Any] = []
        self._ended = False
        self._begun, self._full, self._wanted = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def read(self, stream: Any) -> None:
        """Collect to the end of the stream, while a batch is wanted that is not full."""
        try:
            async for event in stream.noack().events():
                self._events.append(event)
                self._begun.set()
                if len(self._events) >= self._size:
                    self._full.set()
                    self._wanted.clear()
                await self._wanted.wait()
        finally:
            self._ended = True
            self._begun.set()
            self._full.set()

    async def batch(self, within: float) -> list[Any]:
        """The next one; empty when the stream has ended."""
        if len(self._events) < self._size:
            self._wanted.set()
        await self._begun.wait()
        with suppress(TimeoutError):
            async with asyncio.timeout(within):
                await self._full.wait()
        self._wanted.clear()
        batch, self._events = self._events, []
        if not self._ended:
            self._begun.clear()
            self._full.clear()
        return batch
