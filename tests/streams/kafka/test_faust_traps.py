"""Each trap of Faust that our Kafka room names, and that we do not fall in. Real Faust, real broker."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
import pytest
from support.streams_support import committed, eventually, running, topic_names, with_topics

from facepass.local.broker import embedded_broker
from facepass.local.ports import free_port
from facepass.schemas.events import PhotoIndexed
from facepass.schemas.settings import KafkaSettings
from facepass.streams.kafka.batching import batches
from facepass.streams.kafka.embedded_fetch import FETCH_WAIT_MS, IDLE_FETCH_WAIT_MS
from facepass.streams.kafka.faust_app import add_agent, new_app
from facepass.streams.kafka.publisher import open_publisher
from facepass.streams.process import worker as worker_module
from facepass.streams.process.worker import Worker

GROUP = "traps"
TOPIC = PhotoIndexed.topic


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[str]:
    """A broker of the test's own: it starts in a moment, and topics have fixed names."""
    with embedded_broker("127.0.0.1", free_port(), log=tmp_path / "broker.log") as address:
        yield address


def photos(count: int) -> list[PhotoIndexed]:
    now = datetime.now(UTC).isoformat()
    return [
        PhotoIndexed(session_id="s", photo_id=f"p{number}", s3_key="a.jpg", occurred_at=now)
        for number in range(count)
    ]


async def publish(settings: KafkaSettings, count: int) -> None:
    async with open_publisher(settings) as publisher:
        for photo in photos(count):
            await publisher.publish(photo)


def consuming(settings: KafkaSettings, worker: Worker, agent: Callable[[Any], Awaitable[None]]) -> Any:
    app = new_app(settings, app_id=GROUP, buffered=20)
    add_agent(app, TOPIC, agent, on_error=worker.fail)
    return app


async def test_a_stop_in_the_middle_of_a_batch_commits_nothing_of_it(
    broker: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_module, "_DRAIN_SECONDS", 0.5)
    settings = await with_topics(broker)
    await publish(settings, 25)
    worker, begun = Worker("w"), asyncio.Event()
    taken: list[int] = []

    async def agent(stream: Any) -> None:
        async for events in batches(stream, size=10, within=0.1):
            taken.append(len(events))  # ten, or fewer if the broker hands them out more slowly
            with worker.batch():
                if len(taken) == 2:
                    begun.set()
                    await asyncio.Event().wait()  # the photo store hangs
                for event in events:
                    event.ack()

    async with running(worker, consuming(settings, worker, agent)):
        await asyncio.wait_for(begun.wait(), 30)
    assert await committed(broker, GROUP, TOPIC) == taken[:1]


async def test_a_batch_under_way_is_finished_and_committed_before_the_end(broker: str) -> None:
    settings = await with_topics(broker)
    await publish(settings, 10)
    worker, begun = Worker("w"), asyncio.Event()

    async def agent(stream: Any) -> None:
        async for events in batches(stream, size=10, within=0.1):
            with worker.batch():
                begun.set()
                await asyncio.sleep(0.5)
                for event in events:
                    event.ack()

    async with running(worker, consuming(settings, worker, agent)):
        await asyncio.wait_for(begun.wait(), 30)
    assert await committed(broker, GROUP, TOPIC) == [10]


async def test_a_defect_in_an_agent_ends_the_worker_with_it(broker: str) -> None:
    settings = await with_topics(broker)
    await publish(settings, 1)
    worker, calls = Worker("w"), []

    async def agent(stream: Any) -> None:
        calls.append(1)
        async for _ in batches(stream, size=10, within=0.1):
            raise ZeroDivisionError("a defect")

    with pytest.raises(ZeroDivisionError, match="a defect"):
        await asyncio.wait_for(worker.run(consuming(settings, worker, agent)), 30)
    assert calls == [1], "started anew, it goes on past what it left unfinished"
    assert await committed(broker, GROUP, TOPIC) == [None]


async def test_a_defect_in_a_task_beside_the_agents_ends_the_worker_too(broker: str) -> None:
    settings = await with_topics(broker)
    worker = Worker("w")

    async def agent(stream: Any) -> None:
        async for _ in batches(stream, size=10, within=0.1):
            pass

    async def sweep() -> None:
        raise ZeroDivisionError("a defect")

    with pytest.raises(ZeroDivisionError):
        await asyncio.wait_for(worker.run(consuming(settings, worker, agent), tasks=[sweep]), 30)


@pytest.mark.parametrize("what", ["agent", "task beside", "part of an agent"])
async def test_a_cancellation_that_nobody_asked_for_ends_the_worker(broker: str, what: str) -> None:
    settings = await with_topics(broker)
    await publish(settings, 1)
    worker = Worker("w")

    async def cancelled() -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.sleep(0)

    async def agent(stream: Any) -> None:
        async with asyncio.TaskGroup() as group:
            async for _ in batches(stream, size=10, within=0.1):
                if what == "agent":
                    await cancelled()
                if what == "part of an agent":
                    worker.fail_if_cancelled(group.create_task(cancelled()))

    tasks = [cancelled] if what == "task beside" else []
    with pytest.raises(RuntimeError, match="was cancelled"):
        await asyncio.wait_for(worker.run(consuming(settings, worker, agent), tasks=tasks), 30)
    assert await committed(broker, GROUP, TOPIC) == [None]


async def test_an_agent_that_returns_by_itself_ends_the_worker(broker: str) -> None:
    settings = await with_topics(broker)
    worker = Worker("w")

    async def agent(_stream: Any) -> None:
        return

    with pytest.raises(RuntimeError, match="returned"):
        await asyncio.wait_for(worker.run(consuming(settings, worker, agent)), 30)


async def test_nothing_of_faust_is_left_but_the_consumer(
    broker: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path / "..")
    settings = await with_topics(broker, partitions=2)
    topics, files, ports = await topic_names(broker), _files(), _listening()
    worker = Worker("w")

    async def agent(stream: Any) -> None:
        async for _ in batches(stream, size=10, within=0.1):
            pass

    app = consuming(settings, worker, agent)
    async with running(worker, app):
        await eventually(lambda: worker.not_ready() is None)
        assert _listening() == ports, "Faust's web server is on"
    assert await topic_names(broker) == topics, "a topic was created: changelog, leader or reply"
    assert _files() == files
    assert not app.tables.data
    assert [agent.concurrency for agent in app.agents.values()] == [1]
    assert app.conf.broker_max_poll_interval == 86_400
    assert app.conf.processing_guarantee.name == "AT_LEAST_ONCE"


async def test_an_idle_worker_commits_and_publishes_nothing(broker: str) -> None:
    settings = await with_topics(broker)
    worker = Worker("w")

    async def agent(stream: Any) -> None:
        async for _ in batches(stream, size=10, within=0.05):
            pytest.fail("there is no event")

    async with running(worker, consuming(settings, worker, agent)):
        await eventually(lambda: worker.not_ready() is None)
        await asyncio.sleep(2.5)  # the commit timer runs once a second
    assert await committed(broker, GROUP, TOPIC) == [None]


async def test_a_batch_that_may_not_wait_is_handed_out_at_once(broker: str) -> None:
    settings = await with_topics(broker)
    worker, taken = Worker("w"), 0

    async def agent(stream: Any) -> None:
        nonlocal taken
        async for events in batches(stream, size=10, within=0):
            assert 1 <= len(events) <= 10
            taken += len(events)

    async with running(worker, consuming(settings, worker, agent)):
        await eventually(lambda: worker.not_ready() is None)
        await publish(settings, 3)
        await eventually(lambda: taken == 3)
        await publish(settings, 25)
        await eventually(lambda: taken == 28)


async def test_nothing_is_read_far_ahead_of_a_batch_under_way(broker: str) -> None:
    """What is read and not begun is lost time after a rebalance: somebody else does it too."""
    settings = await with_topics(broker)
    await publish(settings, 2)
    worker, begun, go_on, sizes = Worker("w"), asyncio.Event(), asyncio.Event(), []

    async def agent(stream: Any) -> None:
        async for events in batches(stream, size=5, within=0.5):
            sizes.append(len(events))
            begun.set()
            await go_on.wait()

    app = consuming(settings, worker, agent)
    async with running(worker, app):
        await asyncio.wait_for(begun.wait(), 30)
        await publish(settings, 13)  # while a batch is under way that is not full
        await eventually(lambda: len(app.consumer.unacked) > sizes[0])
        await asyncio.sleep(1)
        assert len(app.consumer.unacked) == sizes[0] + 1, "one event is read ahead, and no other"
        go_on.set()
        await eventually(lambda: sum(sizes) == 15)
    assert max(sizes) <= 5


def _listening() -> set[int]:
    return {c.laddr.port for c in psutil.Process().net_connections() if c.status == psutil.CONN_LISTEN}


def _files() -> set[Path]:
    return set(Path.cwd().iterdir())


FAUSTS_MS = 1500


@pytest.mark.parametrize(
    ("idempotence", "fetch_often", "wait", "idle_wait"),
    [
        (False, True, FETCH_WAIT_MS, IDLE_FETCH_WAIT_MS),
        (False, False, FAUSTS_MS, FAUSTS_MS),
        (True, True, FAUSTS_MS, FAUSTS_MS),
    ],
)
async def test_on_the_embedded_broker_a_prompt_consumer_lets_no_fetch_wait_for_long(
    broker: str, idempotence: bool, fetch_often: bool, wait: int, idle_wait: int
) -> None:
    """That broker looks for new records only twice in the time that a fetch may wait, and Faust's is 1.5 s."""
    settings = await with_topics(broker)
    consuming_settings = settings.model_copy(update={"kafka_idempotence": idempotence})
    app = new_app(consuming_settings, app_id=GROUP, buffered=20, fetch_often=fetch_often)
    worker = Worker("w")

    async def idle(stream: Any) -> None:
        async for _ in stream.events():
            pass

    add_agent(app, TOPIC, idle, on_error=worker.fail)
    async with running(worker, app):
        await eventually(lambda: worker.not_ready() is None)
        fetcher = app.consumer._thread._consumer._fetcher
        await eventually(lambda: fetcher._fetch_max_wait_ms == idle_wait)
        await publish(settings, 1)
        await eventually(lambda: fetcher._fetch_max_wait_ms == wait)
