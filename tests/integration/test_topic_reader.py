"""Reading topics to their end as it was at the start, and waiting for a group without joining it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer
from streams_support import commit, with_topics

from facepass.ops.local.broker import embedded_broker
from facepass.ops.local.ports import free_port
from facepass.schemas.events import PhotoDeleted, PhotoIndexed
from facepass.streams.topic_reader import TopicReader, open_topic_reader

GROUP = "group"


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[str]:
    with embedded_broker("127.0.0.1", free_port(), log=tmp_path / "broker.log") as address:
        yield address


async def publish(broker: str, count: int, *, partition: int = 0) -> None:
    """One record a batch: the embedded broker says that a batch ends with its first record."""
    producer = AIOKafkaProducer(bootstrap_servers=broker)
    await producer.start()
    for number in range(count):
        await producer.send_and_wait(PhotoIndexed.topic, b"%d" % number, partition=partition)
    await producer.stop()


async def values(reader: TopicReader, topic: str = PhotoIndexed.topic) -> list[bytes | None]:
    return [record.value async for records in reader.read(topic) for record in records]


async def test_reads_what_was_there_at_the_start(broker: str) -> None:
    settings = await with_topics(broker, partitions=2)
    await publish(broker, 5)
    await publish(broker, 3, partition=1)
    async with open_topic_reader(settings, [PhotoIndexed.topic, PhotoDeleted.topic], group=GROUP) as reader:
        await publish(broker, 2)
        assert reader.records(PhotoIndexed.topic) == 8
        assert sorted(await values(reader)) == sorted([b"%d" % n for n in (0, 1, 2, 3, 4, 0, 1, 2)])
        assert await values(reader, PhotoDeleted.topic) == []
        lag = await reader.wait_for_group(0)
    assert lag == {"photo-indexed[0]": (5, None), "photo-indexed[1]": (3, None)}


async def test_reads_as_far_as_the_group_has_committed(broker: str) -> None:
    settings = await with_topics(broker, partitions=2)
    await publish(broker, 5)
    await publish(broker, 3, partition=1)
    await commit(broker, GROUP, PhotoIndexed.topic, 2)
    await commit(broker, GROUP, PhotoIndexed.topic, 3, partition=1)
    async with open_topic_reader(settings, [PhotoIndexed.topic], group=GROUP) as reader:
        assert await reader.wait_for_group(0) == {"photo-indexed[0]": (5, 2)}
        assert sorted(await values(reader)) == sorted([b"%d" % n for n in (0, 1, 0, 1, 2)])
        await publish(broker, 1)
        await commit(broker, GROUP, PhotoIndexed.topic, 6)
        assert await reader.wait_for_group(0) == {}
        assert len(await values(reader)) == 9


async def test_an_offset_past_the_end_is_no_reason_to_wait(broker: str) -> None:
    settings = await with_topics(broker)
    await publish(broker, 2)
    await commit(broker, GROUP, PhotoIndexed.topic, 50)
    async with open_topic_reader(settings, [PhotoIndexed.topic], group=GROUP) as reader:
        assert await reader.wait_for_group(0) == {}
        assert await values(reader) == [b"0", b"1"]
