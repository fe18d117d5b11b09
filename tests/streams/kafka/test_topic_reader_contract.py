"""Topics read to their end as it was at the start; waiting for a group without joining it. On each broker."""

import uuid

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from support.streams_support import commit, kafka_settings

from facepass.schemas.errors import ErrorCode, TransientError
from facepass.streams.kafka.topic_reader import TopicReader, open_topic_reader


@pytest.fixture
async def topic(broker: str) -> str:
    """A new topic: five records in its first partition, three in its second. Its group has the same name."""
    name = f"contract-{uuid.uuid4().hex}"
    admin = AIOKafkaAdminClient(bootstrap_servers=broker)
    await admin.start()
    await admin.create_topics([NewTopic(name, num_partitions=2, replication_factor=1)])
    await admin.close()
    await publish(broker, name, 5)
    await publish(broker, name, 3, partition=1)
    return name


async def publish(broker: str, topic: str, count: int, *, partition: int = 0) -> None:
    """One record a batch: the embedded broker says that its last batch ends with its first record."""
    producer = AIOKafkaProducer(bootstrap_servers=broker)
    await producer.start()
    for number in range(count):
        await producer.send_and_wait(topic, b"%d" % number, partition=partition)
    await producer.stop()


async def values(reader: TopicReader, topic: str) -> list[bytes | None]:
    return sorted([record.value async for records in reader.read(topic) for record in records])


async def test_reads_what_was_there_at_the_start(broker: str, topic: str) -> None:
    async with open_topic_reader(kafka_settings(broker), [topic], group=topic) as reader:
        await publish(broker, topic, 2)
        assert reader.records(topic) == 8
        assert await values(reader, topic) == [b"0", b"0", b"1", b"1", b"2", b"2", b"3", b"4"]
        assert await reader.wait_for_group(0) == {f"{topic}[0]": (5, None), f"{topic}[1]": (3, None)}


async def test_reads_as_far_as_the_group_has_committed(broker: str, topic: str) -> None:
    await commit(broker, topic, topic, 2)
    await commit(broker, topic, topic, 3, partition=1)
    async with open_topic_reader(kafka_settings(broker), [topic], group=topic) as reader:
        assert await reader.wait_for_group(0) == {f"{topic}[0]": (5, 2)}
        assert await values(reader, topic) == [b"0", b"0", b"1", b"1", b"2"]
        await publish(broker, topic, 1)
        await commit(broker, topic, topic, 6)
        assert await reader.wait_for_group(0) == {}
        assert len(await values(reader, topic)) == 9


async def test_an_offset_past_the_end_is_no_reason_to_wait(broker: str, topic: str) -> None:
    for partition in range(2):
        await commit(broker, topic, topic, 50, partition=partition)
    async with open_topic_reader(kafka_settings(broker), [topic], group=topic) as reader:
        assert await reader.wait_for_group(0) == {}
        assert len(await values(reader, topic)) == 8


async def test_a_missing_topic_is_named(broker: str) -> None:
    with pytest.raises(TransientError) as caught:
        async with open_topic_reader(kafka_settings(broker), ["nowhere"], group="g"):
            pass
    assert caught.value.code is ErrorCode.TOPIC_MISSING
