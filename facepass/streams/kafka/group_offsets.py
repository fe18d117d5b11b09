"""The offsets of a consumer group, asked of the brokers themselves and not of the group's members."""

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

from aiokafka import AIOKafkaConsumer, TopicPartition

from facepass.schemas.settings import KafkaSettings
from facepass.streams.kafka.errors import kafka_errors
from facepass.streams.kafka.topics import count_partitions

_ANSWER_SECONDS = 10.0
"""aiokafka itself would ask on for as long as the brokers are away."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionOffsets:
    """One partition: the offsets it still holds are `begin` to `end` - 1.

    `committed` is where the group goes on; None: it has never finished an event here.
    """

    begin: int
    committed: int | None
    end: int

    @property
    def lag(self) -> int:
        """The number of records before the group; none if its offset lies beyond the end."""
        return max(0, self.end - max(self.begin, self.committed or 0))

    @property
    def dropped(self) -> int:
        """The number of records that were before the group and that the topic no longer holds."""
        return 0 if self.committed is None else max(0, self.begin - self.committed)

    @property
    def beyond_end(self) -> bool:
        """True if the group's offset never was in this topic: it was deleted and made again, or lost its end."""
        return self.committed is not None and self.committed > self.end


class GroupOffsets:
    """The questions about one group. It joins nothing and commits nothing. Open one with `open_group_offsets`.

    Every method raises TransientError `broker_unavailable`, also when the answer takes longer than ten seconds.
    """

    def __init__(self, settings: KafkaSettings, consumer: AIOKafkaConsumer) -> None:
        self._settings = settings
        self._consumer = consumer

    async def partitions(self, topics: Sequence[str]) -> set[TopicPartition]:
        """All partitions of those topics that exist."""
        with kafka_errors():
            async with asyncio.timeout(_ANSWER_SECONDS):
                counts = await count_partitions(self._settings, topics)
        return {TopicPartition(topic, number) for topic, count in counts.items() for number in range(count)}

    async def read(self, partitions: Collection[TopicPartition]) -> Mapping[TopicPartition, PartitionOffsets]:
        """The offsets, asked for in an order in which no moving group seems to be out of its topic."""
        asked = list(partitions)
        if not asked:
            return {}
        with kafka_errors():
            async with asyncio.timeout(_ANSWER_SECONDS):
                begins = await self._consumer.beginning_offsets(asked)
                committed = [await self._consumer.committed(partition) for partition in asked]
                ends = await self._consumer.end_offsets(asked)
        found = {
            partition: PartitionOffsets(begin=begins[partition], committed=offset, end=ends[partition])
            for partition, offset in zip(asked, committed, strict=True)
        }
        return {partition: await self._confirmed(partition, offsets) for partition, offsets in found.items()}

    async def _confirmed(self, partition: TopicPartition, offsets: PartitionOffsets) -> PartitionOffsets:
        """The embedded broker counts a topic's last batch as one record: its end can lie before what was read."""
        committed = offsets.committed
        if committed is None or not offsets.beyond_end or offsets.end == offsets.begin:
            return offsets
        last = max(await self._offsets_from(partition, offsets.end - 1), default=0)
        return replace(offsets, end=committed) if last >= committed - 1 else offsets

    async def has_record(self, partition: TopicPartition, offset: int) -> bool:
        """True if the broker hands out a record at or after `offset`; not every offset has one (transactions)."""
        return bool(await self._offsets_from(partition, offset))

    async def _offsets_from(self, partition: TopicPartition, offset: int) -> list[int]:
        """Offsets of the records that one fetch brings. Ask only from where the topic is: beyond its end the
        embedded broker does not answer at all."""
        with kafka_errors():
            async with asyncio.timeout(_ANSWER_SECONDS):
                self._consumer.assign([partition])
                self._consumer.seek(partition, offset)
                found = await self._consumer.getmany(partition, timeout_ms=5000)
                self._consumer.unsubscribe()
        return [record.offset for records in found.values() for record in records]


@asynccontextmanager
async def open_group_offsets(settings: KafkaSettings, group: str) -> AsyncIterator[GroupOffsets]:
    """The offsets of a group, to be asked for the life of the block.

    Raises:
        TransientError: `broker_unavailable`.
    """
    consumer = AIOKafkaConsumer(
        bootstrap_servers=settings.kafka,
        group_id=group,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
    )
    try:
        with kafka_errors():
            await consumer.start()
        yield GroupOffsets(settings, consumer)
    finally:
        await consumer.stop()
