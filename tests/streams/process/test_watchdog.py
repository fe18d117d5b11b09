"""The watchdog on a real broker: what ends a worker, and what does not."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import faust
import pytest
from support.streams_support import committed, eventually, with_topics

from facepass.local.broker import embedded_broker
from facepass.local.ports import free_port
from facepass.schemas.errors import ErrorCode, TransientError
from facepass.schemas.events import PhotoIndexed
from facepass.schemas.metrics import consumer_lag
from facepass.schemas.settings import KafkaSettings
from facepass.streams.kafka.batching import batches
from facepass.streams.kafka.faust_app import add_agent, new_app
from facepass.streams.kafka.publisher import open_publisher
from facepass.streams.process.retry import until_available
from facepass.streams.process.watchdog import Watchdog
from facepass.streams.process.worker import Worker

TOPIC = PhotoIndexed.topic
LIMIT = 2.0
"""Seconds. A batch may take three times as long."""

Agent = Callable[[Any], Awaitable[None]]


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[str]:
    with embedded_broker("127.0.0.1", free_port(), log=tmp_path / "broker.log") as address:
        yield address


@asynccontextmanager
async def watched(
    settings: KafkaSettings, worker: Worker, agent: Agent
) -> AsyncIterator[tuple["asyncio.Task[None]", faust.App, str]]:
    """The worker with this agent under a watchdog; with its app and group."""
    group = f"watched-{uuid.uuid4().hex}"
    app = new_app(settings, app_id=group, buffered=20)
    add_agent(app, TOPIC, agent, on_error=worker.fail)
    watchdog = Watchdog(worker, settings, group=group, topics=[TOPIC], seconds=LIMIT)
    task = asyncio.create_task(worker.run(app, tasks=[watchdog.watch_forever]))
    try:
        yield task, app, group
    finally:
        worker.stop()
        await asyncio.wait([task])


async def publish(settings: KafkaSettings, count: int) -> None:
    async with open_publisher(settings) as publisher:
        for number in range(count):
            photo = PhotoIndexed(
                session_id="s", photo_id=f"p{number}", s3_key="a.jpg", occurred_at=datetime.now(UTC).isoformat()
            )
            await publisher.publish(photo)


async def ended(task: "asyncio.Task[None]") -> str:
    """What the watchdog said when it ended the worker."""
    with pytest.raises(TransientError) as caught:
        await asyncio.wait_for(task, 30)
    assert caught.value.code is ErrorCode.STALLED
    return caught.value.message


async def test_an_agent_that_takes_nothing_more_ends_the_worker(broker: str) -> None:
    settings = await with_topics(broker)
    await publish(settings, 5)

    async def agent(stream: Any) -> None:
        async for _ in batches(stream, size=5, within=0.05):
            await asyncio.Event().wait()

    async with watched(settings, Worker("w"), agent) as (task, _, _):
        assert f"no event of topic {TOPIC} was finished" in await ended(task)
    assert consumer_lag.labels(topic=TOPIC, partition=0)._value.get() == 5


async def test_a_consumer_that_holds_its_partition_and_reads_nothing_ends_the_worker(broker: str) -> None:
    settings = await with_topics(broker)
    worker, taken = Worker("w"), []

    async def agent(stream: Any) -> None:
        async for events in batches(stream, size=5, within=0.05):
            taken.extend(events)
            for event in events:
                event.ack()

    async with watched(settings, worker, agent) as (task, app, _):
        await publish(settings, 3)
        await eventually(lambda: len(taken) == 3)
        app.consumer.pause_partitions(app.consumer.assignment())
        await publish(settings, 3)
        await ended(task)
    assert len(taken) == 3


@pytest.mark.parametrize("reason", ["batch", "outage"])
async def test_a_long_batch_and_an_outage_are_not_a_standstill(broker: str, reason: str) -> None:
    settings = await with_topics(broker)
    worker, late = Worker("w"), asyncio.Event()
    seconds = {"batch": 1.5 * LIMIT, "outage": 3.5 * LIMIT}[reason]

    async def postgres() -> None:
        if not late.is_set():
            raise TransientError(ErrorCode.DATABASE_UNAVAILABLE, "not now")

    async def agent(stream: Any) -> None:
        async for events in batches(stream, size=5, within=0.05):
            asyncio.get_running_loop().call_later(seconds, late.set)
            if reason == "batch":
                with worker.batch():
                    await late.wait()
            else:
                await until_available(postgres, waiting_for="PostgreSQL")
            for event in events:
                event.ack()

    async with watched(settings, worker, agent) as (task, _, group):
        await eventually(lambda: worker.held)
        await publish(settings, 5)
        await asyncio.wait_for(late.wait(), 30)
        while await committed(broker, group, TOPIC) != [5]:
            assert not task.done(), task.exception()
            await asyncio.sleep(0.1)
        await asyncio.sleep(LIMIT)
        assert not task.done(), "idle is not stalled either"


async def test_a_batch_that_never_ends_does(broker: str) -> None:
    settings = await with_topics(broker)
    await publish(settings, 5)
    worker = Worker("w")

    async def agent(stream: Any) -> None:
        async for _ in batches(stream, size=5, within=0.05):
            with worker.batch():
                await asyncio.Event().wait()

    async with watched(settings, worker, agent) as (task, _, _):
        await ended(task)
