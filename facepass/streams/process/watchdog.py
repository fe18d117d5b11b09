"""The watchdog: a consumer with events before it that takes none ends its process, for a supervisor to begin anew.

Faust's and aiokafka's consumers are known to stall in silence. So the figures come from the brokers: what a topic
holds, and what the group has committed.
"""

import asyncio
from collections.abc import Mapping, Sequence
from time import monotonic

from aiokafka import TopicPartition

from facepass.schemas.errors import ErrorCode, TransientError
from facepass.schemas.logs import get_logger
from facepass.schemas.metrics import consumer_lag
from facepass.schemas.settings import KafkaSettings
from facepass.streams.kafka import GroupOffsets, PartitionOffsets, open_group_offsets
from facepass.streams.process.retention_gaps import report_retention_gap
from facepass.streams.process.retry import waits_under_way
from facepass.streams.process.worker import Worker

_log = get_logger(__name__)

_LOOK_SECONDS = 5.0
_LOOKS = 10
"""In the time after which a consumer counts as stalled, at least."""
_BATCH_FACTOR = 3.0
"""A batch under way may take this many times as long; also a topic of which this process holds no partition, since
its fellow works."""


class Standstill:
    """The time in which nothing has moved, as seen by looks at the group's offsets.

    Only time between looks counts: a process that was frozen itself has seen nothing.
    """

    def __init__(self) -> None:
        self._committed: dict[TopicPartition, int | None] = {}
        self._seconds: dict[TopicPartition, float] = {}

    def look(self, found: Mapping[TopicPartition, PartitionOffsets], elapsed: float) -> dict[str, TopicPartition]:
        """Note the offsets, `elapsed` seconds after the look before.

        Returns:
            For each topic with lag the partition that moved last (`seconds` tells when). A partition that waits
            while others move is not stalled: Faust empties what it has fetched of one before it goes on.
        """
        self._seconds = {
            partition: self._seconds[partition] + elapsed
            if offsets.lag and self._committed.get(partition, -1) == offsets.committed
            else 0.0
            for partition, offsets in found.items()
        }
        self._committed = {partition: offsets.committed for partition, offsets in found.items()}
        newest: dict[str, TopicPartition] = {}
        for partition in sorted(found, key=self.seconds, reverse=True):
            if found[partition].lag:
                newest[partition.topic] = partition
        return newest

    def seconds(self, partition: TopicPartition) -> float:
        """The seconds for which it has had lag and not moved."""
        return self._seconds.get(partition, 0.0)

    def excuse(self) -> None:
        """Begin to count anew."""
        self._committed.clear()


class Watchdog:
    """The watch over one worker's group; `watch_forever` is a task of the worker."""

    def __init__(
        self, worker: Worker, kafka: KafkaSettings, *, group: str, topics: Sequence[str], seconds: float
    ) -> None:
        self._worker = worker
        self._kafka = kafka
        self._group = group
        self._topics = topics
        self._limit = seconds
        self._pause = min(_LOOK_SECONDS, seconds / _LOOKS) if seconds else _LOOK_SECONDS
        self._standstill = Standstill()
        self._reported_gaps: dict[TopicPartition, int] = {}

    async def watch_forever(self) -> None:
        """Look every few seconds; set `consumer_lag`.

        Raises:
            TransientError: `stalled`, to end the process with.
        """
        while True:
            try:
                async with open_group_offsets(self._kafka, self._group) as group_offsets:
                    await self._watch(group_offsets)
            except TransientError as exc:
                if exc.code is ErrorCode.STALLED:
                    raise
                # Kafka's own outage explains that nothing moves.
                _log.warning("positions_unknown", group=self._group, error=exc)
                self._standstill.excuse()
            await asyncio.sleep(self._pause)

    async def _watch(self, group_offsets: GroupOffsets) -> None:
        last = monotonic()
        while True:
            await asyncio.sleep(self._pause)
            held = self._worker.held
            # Of a topic that was deleted and created again the group may hold nothing, and never know of it.
            not_held = [topic for topic in self._topics if all(topic != partition.topic for partition in held)]
            watched = held | await group_offsets.partitions(not_held) if not_held else held
            found = await group_offsets.read(watched)
            now, before = monotonic(), last
            last = now
            self._report({partition: offsets for partition, offsets in found.items() if partition in held})
            if waits_under_way():
                self._standstill.excuse()
            for topic, partition in self._standstill.look(found, min(now - before, 2 * self._pause)).items():
                await self._end_if_stalled(group_offsets, topic, partition, found[partition])

    def _report(self, found: Mapping[TopicPartition, PartitionOffsets]) -> None:
        consumer_lag.clear()
        for partition, offsets in found.items():
            consumer_lag.labels(topic=partition.topic, partition=partition.partition).set(offsets.lag)
            if offsets.beyond_end:
                raise TransientError(
                    ErrorCode.STALLED,
                    f"the group's offset in topic {partition.topic}, partition {partition.partition}, lies beyond"
                    " its end: the topic was created anew. Started again, the worker reads it from its beginning",
                )
            if offsets.dropped and self._reported_gaps.get(partition) != offsets.begin:
                self._reported_gaps[partition] = offsets.begin
                report_retention_gap(self._group, partition, offsets)

    async def _end_if_stalled(
        self, group_offsets: GroupOffsets, topic: str, partition: TopicPartition, offsets: PartitionOffsets
    ) -> None:
        seconds = self._standstill.seconds(partition)
        # What a batch has finished is committed a little after its end.
        at_work = self._worker.idle_seconds < self._limit or partition not in self._worker.held
        if not self._limit or seconds <= self._limit * (_BATCH_FACTOR if at_work else 1.0):
            return
        if not await group_offsets.has_record(partition, max(offsets.begin, offsets.committed or 0)):
            # The marker of a transaction, or a broker that hands out nothing: neither is the consumer's fault.
            self._standstill.excuse()
            return
        raise TransientError(
            ErrorCode.STALLED,
            f"no event of topic {topic} was finished for {seconds:.0f} s although Kafka has some"
            f" (partition {partition.partition}, offset {offsets.committed}; FACEPASS_WATCHDOG_SECONDS is"
            f" {self._limit:.0f}): the consumer stands still, and the process has to be started again",
        )
