"""The follower on a real broker: hints from now on, never waiting; polls whatever becomes of Kafka."""

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer
from structlog.testing import capture_logs
from support.streams_support import eventually, kafka_settings, topic_names, with_topics

from facepass.local.broker import embedded_broker
from facepass.local.ports import free_port
from facepass.schemas.errors import ErrorCode, TransientError
from facepass.schemas.events import IndexUpdate
from facepass.schemas.ids import SessionId
from facepass.schemas.ledger import UpdateStatus
from facepass.schemas.settings import LeaseSettings
from facepass.streams import follower as follower_module
from facepass.streams.follower import build_follower
from facepass.streams.kafka.publisher import open_publisher

LEASE = LeaseSettings(poll_seconds=0.05)


@dataclass
class Shards:
    """Notes hints; a catch-up hangs until it is let go, like one whose database is slow."""

    hints: list[int] = field(default_factory=list)
    caught_up: int = 0
    database_answers: asyncio.Event = field(default_factory=asyncio.Event)

    def hint(self, update: IndexUpdate) -> None:
        self.hints.append(update.revision)

    async def catch_up(self) -> None:
        self.caught_up += 1
        await self.database_answers.wait()


@dataclass
class Replica:
    """Notes polls and fails the first ones, transiently and by a defect."""

    polls: int = 0

    async def poll(self) -> None:
        self.polls += 1
        if self.polls == 1:
            raise TransientError(ErrorCode.DATABASE_UNAVAILABLE, "away")
        if self.polls == 2:
            raise ZeroDivisionError


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[str]:
    with embedded_broker("127.0.0.1", free_port(), log=tmp_path / "broker.log") as address:
        yield address


def update(revision: int) -> IndexUpdate:
    return IndexUpdate(
        session_id=SessionId("s"),
        occurred_at=datetime.now(UTC),
        generation=1,
        revision=revision,
        status=UpdateStatus.DELETED,
    )


async def test_hints_from_now_on_are_taken_without_waiting_for_the_database(broker: str) -> None:
    settings = await with_topics(broker)
    topics = await topic_names(broker)
    shards, replica = Shards(), Replica()
    follower = build_follower(settings, LEASE, shards, replica)
    async with open_publisher(settings) as publisher:
        await publisher.publish(update(1))
        async with follower.running():
            await eventually(follower.broker_healthy)
            await publisher.publish(update(2))
            await eventually(lambda: 2 in shards.hints)
            await eventually(lambda: shards.caught_up == 1)
            await _publish_raw(broker, b"no update")
            await publisher.publish(update(3))
            await eventually(lambda: 3 in shards.hints)
            assert shards.caught_up == 1, "the first catch-up still hangs"
            shards.database_answers.set()
            await eventually(lambda: shards.caught_up == 2)
        assert not follower.broker_healthy()
    assert shards.hints == [2, 3]
    assert await topic_names(broker) == topics


async def test_the_poll_runs_without_kafka_and_outlives_its_failures() -> None:
    replica = Replica()
    follower = build_follower(kafka_settings(f"127.0.0.1:{free_port()}"), LEASE, Shards(), replica)
    with capture_logs() as logs:
        async with follower.running():
            await eventually(lambda: replica.polls >= 5)
            await eventually(lambda: any(line["event"] == "broker_lost" for line in logs))
            assert not follower.broker_healthy()
    failed = [line for line in logs if line["event"] == "poll_failed"]
    assert [line["log_level"] for line in failed] == ["warning", "error"]
    assert isinstance(failed[1]["exc_info"], ZeroDivisionError)


async def test_hints_come_again_once_kafka_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follower_module, "_RECONNECT_SECONDS", 0.2)
    port, shards = free_port(), Shards()
    follower = build_follower(kafka_settings(f"127.0.0.1:{port}"), LEASE, shards, Replica())
    with ExitStack() as stack:
        logs = stack.enter_context(capture_logs())
        async with follower.running():
            await eventually(lambda: any(line["event"] == "broker_lost" for line in logs))
            address = stack.enter_context(embedded_broker("127.0.0.1", port, log=tmp_path / "late.log"))
            settings = await with_topics(address)
            await eventually(follower.broker_healthy)
            async with open_publisher(settings) as publisher:
                await publisher.publish(update(7))
            await eventually(lambda: shards.hints == [7])


async def _publish_raw(address: str, value: bytes) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=address)
    await producer.start()
    try:
        await producer.send_and_wait(IndexUpdate.topic, value)
    finally:
        await producer.stop()
