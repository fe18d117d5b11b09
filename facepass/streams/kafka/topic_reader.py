"""Reading topics from the first record that they still hold to their end as it was at the start.

Joins no group and commits nothing: the workers do not notice it.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition

from facepass.schemas.errors import ErrorCode, TransientError
from facepass.schemas.settings import KafkaSettings
from facepass.streams.kafka.errors import kafka_errors
from facepass.streams.kafka.records import Record, record_from_consumer
from facepass.streams.kafka.topics import check_topics, count_partitions

_BATCH = 1000
"""Records handed over at once: what is compared in one query."""

_STALL_SECONDS = 30.0
"""Without a record for this long while some are still to come, Kafka counts as unavailable."""

_LOOK_SECONDS = 0.5

_FETCH_MS = 1000


class TopicReader:
    """The reader of topics. Make one with `open_topic_reader`. Every method raises as `kafka_errors` does."""

    def __init__(
        self,
        consumer: AIOKafkaConsumer,
        group: AIOKafkaConsumer,
        starts: dict[TopicPartition, int],
        ends: dict[TopicPartition, int],
    ) -> None:
        self._consumer = consumer
        self._group = group
        self._starts = starts
        self._ends = ends
        self._goals = dict(ends)

    def records(self, topic: str) -> int:
        """The number of records to read, about: transactions' markers count too."""
        return sum(max(0, goal - self._starts[at]) for at, goal in self._goals.items() if at.topic == topic)

    async def wait_for_group(self, patience: float) -> dict[str, tuple[int, int | None]]:
        """Wait up to `patience` seconds until the group has committed all that was there at the start.

        From then on the reading goes as far as the group has: of what it has not committed nothing can be said
        yet. Partitions of which the group has committed nothing are read to their end.

        Returns:
            By partition, as `topic[number]`: the end, and the group's offset there, where it is behind.
        """
        deadline = time.monotonic() + patience
        while True:
            with kafka_errors():
                committed = {at: await self._group.committed(at) for at in self._ends}
            behind = [at for at in self._ends if self._behind(at, committed[at])]
            if not behind or time.monotonic() >= deadline:
                break
            await asyncio.sleep(_LOOK_SECONDS)
        self._goals |= {at: offset for at, offset in committed.items() if offset is not None}
        return {f"{at.topic}[{at.partition}]": (self._ends[at], committed[at]) for at in behind}

    async def read(self, topic: str) -> AsyncIterator[list[Record]]:
        """All records of a topic, some at a time; those of one partition in their order."""
        left = [at for at in self._goals if at.topic == topic and self._starts[at] < self._goals[at]]
        self._consumer.assign(left)
        for at in left:
            self._consumer.seek(at, self._starts[at])
        heard = time.monotonic()
        while left:
            with kafka_errors():
                found = await self._consumer.getmany(*left, timeout_ms=_FETCH_MS, max_records=_BATCH)
                positions = {at: await self._consumer.position(at) for at in left}
            left = [at for at in left if positions[at] < self._goals[at]]
            if found:
                heard = time.monotonic()
                yield [
                    record_from_consumer(message)
                    for at, messages in found.items()
                    for message in messages
                    if message.offset < self._goals[at]
                ]
            elif all(positions[at] >= self._ends[at] for at in left):
                return  # committed in a topic of this name that is no more
            elif time.monotonic() > heard + _STALL_SECONDS:
                raise TransientError(ErrorCode.BROKER_UNAVAILABLE, f"Kafka sends no more records of {topic}")

    def _behind(self, at: TopicPartition, committed: int | None) -> bool:
        end = self._ends[at]
        return self._starts[at] < end and (committed is None or committed < end)


@asynccontextmanager
async def open_topic_reader(
    settings: KafkaSettings, topics: Sequence[str], *, group: str | None = None
) -> AsyncIterator[TopicReader]:
    """A reader of `topics`, whose ends are those of now.

    Args:
        group: whose progress it may wait for; None if it never does. It is asked about, and not joined.

    Raises:
        TransientError: `broker_unavailable`, `topic_missing`.
        PermanentError: `topic_compacted`, `event_refused`.
    """
    await check_topics(settings, topics)
    counts = await count_partitions(settings, topics)
    places = [TopicPartition(topic, number) for topic in topics for number in range(counts[topic])]
    async with (
        _consumer(settings, auto_offset_reset="earliest") as consumer,
        _consumer(settings, group_id=group) as asking,
    ):
        with kafka_errors():
            ends = await consumer.end_offsets(places)
            starts = await consumer.beginning_offsets(places)
        yield TopicReader(consumer, asking, starts, ends)


@asynccontextmanager
async def _consumer(settings: KafkaSettings, **options: Any) -> AsyncIterator[AIOKafkaConsumer]:
    consumer = AIOKafkaConsumer(bootstrap_servers=settings.kafka, enable_auto_commit=False, **options)
    try:
        with kafka_errors():
            await consumer.start()
        yield consumer
    finally:
        await consumer.stop()
