"""Events that a topic no longer holds are named, counted and passed over, on both kinds of broker."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.records_to_delete import RecordsToDelete
from faust.transport.consumer import Consumer
from prometheus_client import REGISTRY
from structlog.testing import capture_logs
from support.streams_support import SESSION_SECONDS, committed, eventually

from facepass.schemas.settings import KafkaSettings
from facepass.streams.kafka.batching import batches
from facepass.streams.kafka.faust_app import add_agent, new_app
from facepass.streams.kafka.group_offsets import open_group_offsets
from facepass.streams.process.retention_gaps import skip_retention_gaps
from facepass.streams.process.worker import Worker


@asynccontextmanager
async def admin_on(broker: str) -> AsyncIterator[AIOKafkaAdminClient]:
    admin = AIOKafkaAdminClient(bootstrap_servers=broker)
    await admin.start()
    try:
        yield admin
    finally:
        await admin.close()


async def new_topic(broker: str, records: int) -> str:
    """A topic with one partition and records 0, 1, 2, …"""
    topic = f"gaps-{uuid.uuid4().hex}"
    async with admin_on(broker) as admin:
        await admin.create_topics([NewTopic(topic, num_partitions=1, replication_factor=1)])
    await publish(broker, topic, 0, records)
    return topic


async def publish(broker: str, topic: str, begin: int, end: int) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=broker)
    await producer.start()
    try:
        for number in range(begin, end):
            await producer.send_and_wait(topic, b"%d" % number)
    finally:
        await producer.stop()


async def commit(broker: str, group: str, topic: str, offset: int) -> None:
    consumer = AIOKafkaConsumer(bootstrap_servers=broker, group_id=group, enable_auto_commit=False)
    await consumer.start()
    try:
        partition = TopicPartition(topic, 0)
        consumer.assign([partition])
        await consumer.commit({partition: offset})
    finally:
        await consumer.stop()


@asynccontextmanager
async def reading(broker: str, group: str, topic: str) -> AsyncIterator[list[bytes]]:
    """What a worker takes and acknowledges."""
    settings = KafkaSettings(kafka=broker, session_timeout_seconds=SESSION_SECONDS, kafka_idempotence=False)
    taken: list[bytes] = []
    worker = Worker("gaps")

    async def agent(stream: Any) -> None:
        async for events in batches(stream, size=5, within=0.05):
            taken.extend(event.message.value for event in events)
            for event in events:
                event.ack()

    app = new_app(settings, app_id=group, buffered=20)
    add_agent(app, topic, agent, on_error=worker.fail)
    skip_retention_gaps(app, settings)
    task = asyncio.create_task(worker.run(app))
    try:
        yield taken
    finally:
        worker.stop()
        await asyncio.wait([task])
        task.result()


def counted(topic: str) -> tuple[float | None, float | None]:
    labels = {"topic": topic}
    return (
        REGISTRY.get_sample_value("retention_gaps_total", labels),
        REGISTRY.get_sample_value("retention_gap_records_total", labels),
    )


async def test_dropped_records_are_named_and_the_rest_is_read(apache: str) -> None:
    broker = apache  # the embedded one knows no way to drop records
    topic, group = await new_topic(broker, 10), f"group-{uuid.uuid4().hex}"
    await commit(broker, group, topic, 2)
    async with admin_on(broker) as admin:
        await admin.delete_records({TopicPartition(topic, 0): RecordsToDelete(before_offset=7)})
    with capture_logs() as logs:
        async with reading(broker, group, topic) as taken:
            await eventually(lambda: len(taken) == 3)
    assert taken == [b"7", b"8", b"9"]
    (told,) = [line for line in logs if line["event"] == "retention_gap"]
    assert (told["topic"], told["partition"], told["from_offset"], told["to_offset"]) == (topic, 0, 2, 7)
    assert told["log_level"] == "error"
    assert counted(topic) == (1, 5)
    assert await committed(broker, group, topic) == [10]


async def test_a_topic_created_anew_is_read_from_its_beginning(broker: str) -> None:
    topic, group = await new_topic(broker, 3), f"group-{uuid.uuid4().hex}"
    await commit(broker, group, topic, 500)
    with capture_logs() as logs:
        async with reading(broker, group, topic) as taken:
            await eventually(lambda: len(taken) == 3)
            await publish(broker, topic, 3, 5)
            await eventually(lambda: len(taken) == 5)
    assert taken == [b"0", b"1", b"2", b"3", b"4"]
    (told,) = [line for line in logs if line["event"] == "offset_beyond_end"]
    assert (told["from_offset"], told["to_offset"], told["log_level"]) == (500, 0, "error")
    assert await committed(broker, group, topic) == [5]


async def test_without_a_gap_nothing_is_said(broker: str) -> None:
    topic, group = await new_topic(broker, 4), f"group-{uuid.uuid4().hex}"
    await commit(broker, group, topic, 1)
    with capture_logs() as logs:
        async with reading(broker, group, topic) as taken:
            await eventually(lambda: len(taken) == 3)
    assert taken == [b"1", b"2", b"3"]
    assert [line for line in logs if line["log_level"] == "error"] == []
    assert counted(topic) == (None, None)


async def test_records_published_as_one_batch_and_read_are_no_gap(broker: str) -> None:
    """The embedded broker's end offsets count the last batch as one record."""
    topic, group = await new_topic(broker, 0), f"group-{uuid.uuid4().hex}"
    producer = AIOKafkaProducer(bootstrap_servers=broker, linger_ms=50)
    await producer.start()
    try:
        await asyncio.gather(*[await producer.send(topic, b"%d" % number) for number in range(40)])
    finally:
        await producer.stop()
    await commit(broker, group, topic, 40)
    partition = TopicPartition(topic, 0)
    async with open_group_offsets(KafkaSettings(kafka=broker), group) as positions:
        position = (await positions.read([partition]))[partition]
    assert not position.beyond_end
    assert (position.committed, position.lag, position.dropped) == (40, 0, 0)


async def test_records_that_faust_drops_come_again(broker: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As it does with what was fetched when a rebalance begins: at the topic's beginning, one record, a run."""
    handed_out, lost = Consumer.getmany, {0, 1, 5, *range(12, 19)}

    async def losing(consumer: Any, timeout: float) -> AsyncIterator[Any]:  # noqa: ASYNC109 - Faust's
        async for partition, record in handed_out(consumer, timeout):
            if record.offset in lost:
                lost.remove(record.offset)
            else:
                yield partition, record

    monkeypatch.setattr(Consumer, "getmany", losing)
    topic, group = await new_topic(broker, 40), f"group-{uuid.uuid4().hex}"
    async with reading(broker, group, topic) as taken:
        await eventually(lambda: len(taken) == 40)
    assert not lost
    assert taken == [b"%d" % number for number in range(40)]
    assert await committed(broker, group, topic) == [40]


async def test_holes_that_transactions_leave_are_passed_over(apache: str) -> None:
    topic, group = await new_topic(apache, 0), f"group-{uuid.uuid4().hex}"
    producer = AIOKafkaProducer(bootstrap_servers=apache, transactional_id=group)
    await producer.start()
    try:
        for number in range(0, 6, 2):
            async with producer.transaction():
                await producer.send_and_wait(topic, b"%d" % number)
                await producer.send_and_wait(topic, b"%d" % (number + 1))
    finally:
        await producer.stop()
    async with reading(apache, group, topic) as taken:
        await eventually(lambda: len(taken) == 6)
        await publish(apache, topic, 6, 7)
        await eventually(lambda: len(taken) == 7)
    assert taken == [b"%d" % number for number in range(7)]
    assert await committed(apache, group, topic) == [10], "each transaction ends in a record that nobody sees"
