"""What FacePass relies on in a broker, on the embedded one and Apache Kafka; known differences are asserted."""

import asyncio
import signal
import sys
import time
import uuid
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError

PATIENCE = 60.0


@pytest.fixture
async def topic(broker: str) -> str:
    """A new topic with two partitions."""
    name = f"contract-{uuid.uuid4().hex}"
    admin = AIOKafkaAdminClient(bootstrap_servers=broker)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(name, num_partitions=2, replication_factor=1)])
    finally:
        await admin.close()
    return name


@asynccontextmanager
async def producer_on(broker: str) -> AsyncIterator[AIOKafkaProducer]:
    producer = AIOKafkaProducer(bootstrap_servers=broker, acks="all")
    await producer.start()
    try:
        yield producer
    finally:
        await producer.stop()


def consumer_on(broker: str, topic: str, group: str | None = None) -> AIOKafkaConsumer:
    return AIOKafkaConsumer(
        topic,
        bootstrap_servers=broker,
        group_id=group,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        session_timeout_ms=6000,
        rebalance_timeout_ms=6000,
        heartbeat_interval_ms=1000,
        max_poll_interval_ms=300_000,
    )


async def read(consumer: AIOKafkaConsumer, count: int) -> list[bytes]:
    async with asyncio.timeout(PATIENCE):
        return [(await consumer.getone()).value for _ in range(count)]


async def publish(broker: str, topic: str, values: list[bytes], partition: int = 0) -> None:
    async with producer_on(broker) as producer:
        for value in values:
            await producer.send_and_wait(topic, value, partition=partition)


async def test_what_is_published_is_read_in_the_order_of_its_key(broker: str, topic: str) -> None:
    async with producer_on(broker) as producer:
        for number in range(20):
            for key in (b"a", b"b", b"c"):
                await producer.send_and_wait(topic, b"%d" % number, key=key)
    consumer = consumer_on(broker, topic)
    await consumer.start()
    try:
        seen: dict[bytes, list[bytes]] = {b"a": [], b"b": [], b"c": []}
        async with asyncio.timeout(PATIENCE):
            for _ in range(60):
                record = await consumer.getone()
                seen[record.key].append(record.value)
    finally:
        await consumer.stop()
    assert all(values == [b"%d" % number for number in range(20)] for values in seen.values())


async def test_headers_and_timestamps_come_back_as_they_were_sent(broker: str, topic: str) -> None:
    async with producer_on(broker) as producer:
        await producer.send_and_wait(
            topic, b"v", partition=0, headers=[("facepass-origin", b"api")], timestamp_ms=1_700_000_000_123
        )
    consumer = consumer_on(broker, topic)
    await consumer.start()
    try:
        async with asyncio.timeout(PATIENCE):
            record = await consumer.getone()
    finally:
        await consumer.stop()
    assert (record.headers, record.timestamp) == ((("facepass-origin", b"api"),), 1_700_000_000_123)


async def test_a_group_goes_on_at_its_committed_offset_and_redelivers_the_rest(broker: str, topic: str) -> None:
    await publish(broker, topic, [b"0", b"1", b"2", b"3"])
    group = f"group-{uuid.uuid4().hex}"
    first = consumer_on(broker, topic, group)
    await first.start()
    assert await read(first, 3) == [b"0", b"1", b"2"]
    await first.commit({TopicPartition(topic, 0): 2})
    await first.stop()
    second = consumer_on(broker, topic, group)
    await second.start()
    try:
        assert await read(second, 2) == [b"2", b"3"]
        assert await second.committed(TopicPartition(topic, 0)) == 2
    finally:
        await second.stop()


async def test_a_consumer_killed_before_its_commit_gets_the_records_again(broker: str, topic: str) -> None:
    await publish(broker, topic, [b"0", b"1", b"2"])
    group = f"group-{uuid.uuid4().hex}"
    victim = await asyncio.create_subprocess_exec(
        sys.executable, __file__, broker, topic, group, stdout=PIPE, cwd=Path(__file__).parent
    )
    try:
        assert victim.stdout is not None
        async with asyncio.timeout(PATIENCE):
            told = [await victim.stdout.readline() for _ in range(4)]
        assert told == [b"0\n", b"committed\n", b"1\n", b"2\n"]
    finally:
        victim.kill()
        assert await victim.wait() == -signal.SIGKILL
    heir = consumer_on(broker, topic, group)
    await heir.start()
    try:
        # The broker finds out by the session time-out that the first is dead.
        assert await read(heir, 2) == [b"1", b"2"]
    finally:
        await heir.stop()


async def consume_and_linger(broker: str, topic: str, group: str) -> None:
    """The life of the consumer that is killed: it commits the first record, and never the ones after it."""
    consumer = consumer_on(broker, topic, group)
    await consumer.start()
    tell((await consumer.getone()).value)
    await consumer.commit()
    tell(b"committed")
    while True:
        tell((await consumer.getone()).value)


def tell(line: bytes) -> None:
    sys.stdout.buffer.write(line + b"\n")
    sys.stdout.buffer.flush()


async def test_a_second_member_takes_over_when_the_first_leaves(broker: str, topic: str) -> None:
    group = f"group-{uuid.uuid4().hex}"
    first, second = consumer_on(broker, topic, group), consumer_on(broker, topic, group)
    await first.start()
    starting = asyncio.create_task(second.start())
    try:
        await share(first, second, topic)
        assert len(first.assignment()) == len(second.assignment()) == 1
        await first.stop()
        await share(second, None, topic)
        assert len(second.assignment()) == 2
    finally:
        await starting
        await second.stop()


async def share(one: AIOKafkaConsumer, other: AIOKafkaConsumer | None, topic: str) -> None:
    """Poll until `one` and `other` together hold both partitions, each at least one."""
    both = {TopicPartition(topic, 0), TopicPartition(topic, 1)}
    async with asyncio.timeout(PATIENCE):
        while True:
            members = [member for member in (one, other) if member is not None]
            held = [member.assignment() for member in members]
            if all(held) and set().union(*held) == both and sum(map(len, held)) == len(both):
                return
            await asyncio.sleep(0.1)


async def test_a_position_is_found_by_time(broker: str, topic: str) -> None:
    await publish(broker, topic, [b"old"])
    await asyncio.sleep(0.05)
    between = int(time.time() * 1000)
    await asyncio.sleep(0.05)
    await publish(broker, topic, [b"new"])
    consumer = consumer_on(broker, topic)
    await consumer.start()
    try:
        partition = TopicPartition(topic, 0)
        found = await consumer.offsets_for_times({partition: between})
        ends = await consumer.end_offsets([partition])
        begins = await consumer.beginning_offsets([partition])
    finally:
        await consumer.stop()
    assert found[partition].offset == 1
    assert (begins[partition], ends[partition]) == (0, 2)


async def test_known_difference_only_apache_kafka_takes_idempotent_producers(broker: str, kafka: str) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=broker, enable_idempotence=True, request_timeout_ms=3000)
    if broker == kafka:
        with pytest.raises((KafkaError, TimeoutError)):
            await asyncio.wait_for(producer.start(), 5)
    else:
        await producer.start()
    await producer.stop()


if __name__ == "__main__":
    asyncio.run(consume_and_linger(*sys.argv[1:]))
