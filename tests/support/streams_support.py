"""What the tests of the streams share: a broker with topics, reading topics and offsets, a worker to stop."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import faust
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.structs import ConsumerRecord

from facepass.schemas.settings import KafkaSettings
from facepass.streams.kafka.topics import create_topics
from facepass.streams.process.worker import Worker

SESSION_SECONDS = 2.0
"""The embedded broker answers a group join after half of this."""


def kafka_settings(address: str, *, partitions: int = 1) -> KafkaSettings:
    return KafkaSettings(
        kafka=address,
        topic_partitions=partitions,
        kafka_idempotence=False,
        session_timeout_seconds=SESSION_SECONDS,
    )


async def with_topics(address: str, *, partitions: int = 1) -> KafkaSettings:
    settings = kafka_settings(address, partitions=partitions)
    await create_topics(settings)
    return settings


async def read_topic(address: str, topic: str) -> list[ConsumerRecord[bytes, bytes]]:
    """All records of a topic, those of one partition in their order."""
    admin = AIOKafkaAdminClient(bootstrap_servers=address)
    await admin.start()
    try:
        (described,) = await admin.describe_topics([topic])
    finally:
        await admin.close()
    partitions = [TopicPartition(topic, one["partition"]) for one in described["partitions"]]
    consumer = AIOKafkaConsumer(bootstrap_servers=address, auto_offset_reset="earliest")
    await consumer.start()
    try:
        ends = await consumer.end_offsets(partitions)
        consumer.assign(partitions)
        found = []
        while sum(ends.values()) > len(found):
            for records in (await consumer.getmany(timeout_ms=500)).values():
                found += records
        return found
    finally:
        await consumer.stop()


async def committed(address: str, group: str, topic: str, partitions: int = 1) -> list[int | None]:
    """Committed offset of each partition of a topic; None where nothing was ever committed."""
    consumer = AIOKafkaConsumer(bootstrap_servers=address, group_id=group, enable_auto_commit=False)
    await consumer.start()
    try:
        return [await consumer.committed(TopicPartition(topic, number)) for number in range(partitions)]
    finally:
        await consumer.stop()


async def commit(address: str, group: str, topic: str, offset: int, *, partition: int = 0) -> None:
    """Commit an offset for a group that nobody is in."""
    at = TopicPartition(topic, partition)
    consumer = AIOKafkaConsumer(bootstrap_servers=address, group_id=group, enable_auto_commit=False)
    await consumer.start()
    try:
        consumer.assign([at])
        await consumer.commit({at: offset})
    finally:
        await consumer.stop()


async def topic_names(address: str) -> set[str]:
    admin = AIOKafkaAdminClient(bootstrap_servers=address)
    await admin.start()
    try:
        return set(await admin.list_topics())
    finally:
        await admin.close()


@asynccontextmanager
async def running(worker: Worker, *apps: faust.App) -> AsyncIterator["asyncio.Task[None]"]:
    """The worker at work on its apps, stopped at the end of the block."""
    task = asyncio.create_task(worker.run(*apps))
    try:
        yield task
    finally:
        worker.stop()
        await asyncio.wait([task])


async def eventually(condition: Callable[[], object], *, seconds: float = 30.0) -> None:
    """Wait until `condition()` is true; generous, since only a failure takes this long."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - what is waited for is in other processes
            await asyncio.sleep(0.02)
