"""Faust's transport, but for its mistakes around rebalances: no offset is committed past an event not done.

- Faust takes a commit that a rebalance refused for one that was made. The events behind it come again, and their
  acknowledgement is ignored as one of the past: the group's offset stood still until a later event came, and the
  watchdog ended a worker that had done all its work.
- Faust drops records that were fetched when a rebalance begins, and when a second follows at once, also those of
  the new assignment. To it a hole between two records is one of the topic: it counted what it had dropped as done.
- Before it knows where the group is, and for a hole of one record, it commits whatever was acknowledged first.
- It seeks to where the group is while records are on their way, if no partition was held before.

Private names of the libraries that this room touches, here and in `embedded_fetch`. None of them is promised by
anyone, so pyproject.toml bounds the versions from above; a test holds this list against the code.

- `_acked`, `_acked_index` of Faust's Consumer: acknowledged offsets not committed yet, as list and as set.
- `_gap` of Faust's Consumer: holes between records; they count as done.
- `_read_offset` of Faust's Consumer: kept at None, so that Faust itself sees no holes.
- `_committed_offset` of Faust's Consumer: what it takes for committed; set right after a refusal.
- `_new_offset` of Faust's Consumer: up to where to commit; replaced.
- `_commit`, `_commit_offsets` of Faust's Consumer: where a commit ends, and whether it was made.
- `_thread`, `_new_consumer_thread` of Faust's Consumer: the thread that aiokafka's consumer lives in.
- `_create_worker_consumer`, `_consumer` of Faust's AIOKafkaConsumerThread: makes and holds aiokafka's consumer.
- `_fetch_max_wait_ms` of aiokafka's AIOKafkaConsumer, and, read for each fetch, of its `_fetcher`.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing, suppress
from typing import Any, cast

import faust
from aiokafka.errors import IllegalStateError
from faust.transport.drivers import aiokafka as driver
from faust.types import TP

from facepass.schemas.errors import ErrorCode, TransientError

_SEEK_SHARE = 0.8
"""Of the time that Faust gives a seek: it has to end before Faust gives up on it."""


class OffsetTrackingConsumer(driver.Consumer):
    """A consumer that hands out every record in its order, and knows what is done and what is committed."""

    _before_refusal: Mapping[Any, int | None] | None = None

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        # Of each partition, once the group's position in it is known:
        self._next_out: dict[TP, int] = {}  # the offset to be handed out next
        self._done_below: dict[TP, int] = {}  # what is committed, or where the group begins
        self._looked_again: dict[TP, int] = {}  # the start of a hole that was read a second time

    # Faust calls those of these methods that override its own, from its tasks.
    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """A rebalance begins: no position is known until the next seek."""
        self._forget()
        await super().on_partitions_revoked(revoked)

    async def on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        """The end of a rebalance: Faust may have sought in between, among the partitions it had before."""
        self._forget()
        await super().on_partitions_assigned(assigned, generation_id)

    def _forget(self) -> None:
        for known in (self._next_out, self._done_below, self._looked_again):
            known.clear()

    async def perform_seek(self) -> None:
        """Seek all partitions. Whoever calls this lets records flow again afterwards.

        Raises:
            TimeoutError: it ends the consumer. Faust would end the handling of rebalances instead, without a word.
        """
        self.stop_flow()  # what is fetched meanwhile is dropped, and the fetcher seeks again
        async with asyncio.timeout(_SEEK_SHARE * self.app.conf.broker_request_timeout):
            await super().perform_seek()

    async def seek_to_committed(self) -> Mapping[TP, int]:
        """Seek every partition to where its group is, and to its beginning (or end) where it has not been yet.

        aiokafka's own leaves those of the second kind where they are: after what Faust may have dropped.
        """
        try:
            found = await super().seek_to_committed()
        except AssertionError as exc:  # aiokafka's, when the partitions are gone again
            raise IllegalStateError(str(exc)) from exc
        known = {tp: offset for tp, offset in found.items() if offset}
        begins = await self._begins([tp for tp in found if tp not in known])
        if begins:
            await self.seek_wait(begins)
        for tp, offset in (known | begins).items():
            self._next_out[tp] = self._done_below[tp] = offset
            # What was acknowledged until now comes again.
            for told in (self._acked, self._acked_index, self._gap, self._looked_again):
                told.pop(tp, None)
        return known | begins

    async def _begins(self, partitions: list[TP]) -> dict[TP, int]:
        if not partitions:
            return {}
        if self.app.conf.consumer_auto_offset_reset == "earliest":
            return dict(await self.earliest_offsets(*partitions))
        positions = {tp: await self.position(tp) for tp in partitions}
        return {tp: position for tp, position in positions.items() if position is not None}

    async def getmany(self, timeout: float) -> AsyncIterator[tuple[TP, Any]]:  # noqa: ASYNC109 - Faust's
        """Records, of each partition without a hole that the topic does not have."""
        to_come_again: set[TP] = set()
        async with aclosing(super().getmany(timeout)) as records:  # type: ignore[type-var]
            async for tp, record in records:
                if tp in to_come_again:
                    continue
                if await self._is_next(tp, record.offset):
                    self._read_offset[tp] = None  # Faust's own judgement of what follows what
                    yield tp, record
                elif record.offset > self._next_out.get(tp, record.offset):
                    to_come_again.add(tp)

    async def _is_next(self, tp: TP, offset: int) -> bool:
        expected = self._next_out.get(tp)
        if expected is None:
            return False
        if offset < expected:
            # Else all of them would be passed over, up to the old offset.
            raise TransientError(
                ErrorCode.STALLED,
                f"topic {tp.topic}, partition {tp.partition}, went back from offset {expected} to {offset}: it was"
                " created anew. Started again, the worker reads it from its beginning",
            )
        if offset > expected:
            if self._looked_again.get(tp) != expected:
                self._looked_again[tp] = expected
                with suppress(IllegalStateError):  # the partition is another's by now
                    await self.seek_wait({tp: expected})
                return False
            self._gap[tp].addi(expected, offset)  # counts as done; Faust's `_add_gap` is wrong by one at both ends
        self._next_out[tp] = offset + 1
        return True

    def _new_offset(self, tp: TP) -> int | None:
        """The offset below which everything is done; None if that is committed already."""
        done = self._done_below.get(tp)
        if done is None:
            return None
        acknowledged, holes, end = self._acked_index[tp], self._gap[tp], done
        while True:
            if end in acknowledged:
                end += 1
            elif hole := holes.at(end):
                end = max(one.end for one in hole)
            else:
                break
        if end == done:
            return None
        acknowledged.difference_update([offset for offset in acknowledged if offset < end])
        self._acked[tp] = [offset for offset in self._acked[tp] if offset >= end]
        holes.chop(0, end)
        return end

    async def _commit(self, offsets: Mapping[Any, int]) -> bool:
        committed: bool = await super()._commit(offsets)
        # Taken after the refusal: a rebalance may have ended meanwhile and told better.
        self._before_refusal = None if committed else dict(self._committed_offset)
        return committed

    async def _commit_offsets(self, offsets: Mapping[Any, int], start_new_transaction: bool = True) -> bool:
        committed: bool = await super()._commit_offsets(offsets, start_new_transaction)
        before, self._before_refusal = self._before_refusal, None
        if committed:
            for tp, offset in offsets.items():
                if tp in self._done_below:  # by now perhaps further, after a rebalance
                    self._done_below[tp] = self._committed_offset[tp] = max(offset, self._done_below[tp])
        elif before is not None:
            for partition in offsets:
                self._committed_offset[partition] = before.get(partition)
        return committed


async def go_on_at(app: faust.App, offsets: Mapping[TP, int]) -> None:
    """Let the group go on there, whatever it has read: commit the offsets, and seek to them.

    As a member of the group, which Kafka demands while there are others.
    """
    consumer = cast("OffsetTrackingConsumer", app.consumer)
    # Faust's own `commit` commits only what events were acknowledged.
    await consumer._commit(offsets)
    # aiokafka's own seek to what is committed passes over offset 0.
    await consumer.seek_wait(offsets)


class OffsetTrackingTransport(driver.Transport):
    """The transport with that consumer; it takes the place of an app's `transport` before the app starts."""

    Consumer = OffsetTrackingConsumer  # Faust makes its consumer of the class that it finds under this name


# Its own lines are the library's: by default they would bear this module's name.
OffsetTrackingConsumer.logger = driver.logger
