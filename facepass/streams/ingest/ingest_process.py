"""Ingest, the process that turns photo events into rows, and sweeps up the photos that stayed pending."""

import asyncio
import os
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import faust

from facepass.embedding import FaceEngine
from facepass.schemas.errors import PermanentError
from facepass.schemas.events import PhotoIndexed
from facepass.schemas.logs import get_logger
from facepass.schemas.metrics import events_total, ingest_batch_photos
from facepass.schemas.photo_events import PhotoEvent
from facepass.schemas.settings import (
    DatabaseSettings,
    GuardSettings,
    IngestSettings,
    KafkaSettings,
    PhotoStoreSettings,
)
from facepass.storage.photos import open_photo_store
from facepass.streams.dead_letters import limits_of
from facepass.streams.ingest.pipeline import Pipeline, Task, open_pipeline
from facepass.streams.ingest.preparation import prepare_photos
from facepass.streams.ingest.settling import settle_photos
from facepass.streams.ingest.sweep import sweep_forever
from facepass.streams.kafka import add_agent, batches, new_app, record_from_message
from facepass.streams.process import (
    Watchdog,
    Worker,
    open_probes,
    open_stores,
    skip_retention_gaps,
    stop_on_signals,
)

_log = get_logger(__name__)

INGEST_GROUP = "facepass-ingest"

_BATCHES_AT_ONCE = 2
"""One is settled while the next is fetched and analysed: the threads never wait for PostgreSQL."""

_NICENESS = 10
"""Searches go first: on a busy machine `serve` gets about nine times the processor share of ingest."""


async def run_ingest(
    *,
    kafka: KafkaSettings,
    database: DatabaseSettings,
    photos: PhotoStoreSettings,
    ingest: IngestSettings,
    engine: FaceEngine,
    guards: GuardSettings,
    metrics_port: int | None = None,
) -> None:
    """Run ingest until SIGTERM or SIGINT; waits for PostgreSQL, Kafka and its topics if they are absent.

    Args:
        engine: opened before, because loading it takes seconds of full use of the processor.
        guards: when the process ends by itself.
        metrics_port: of the probes; None for none.

    Raises: what ended the work; the process is to end with a non-zero status then.
    """
    lower_priority()
    worker = Worker("ingest")
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(stop_on_signals(worker))
        if metrics_port is not None:
            await stack.enter_async_context(
                open_probes(metrics_port, worker=worker.name, not_ready=worker.not_ready)
            )
        opened = await worker.unless_stopped(
            open_stores(stack, kafka=kafka, topics=[PhotoIndexed.topic], database=database, spec=engine.spec)
        )
        if opened is None:
            return
        photo_store = await stack.enter_async_context(open_photo_store(photos))
        pipeline = await stack.enter_async_context(
            open_pipeline(
                store=opened[0],
                photo_store=photo_store,
                engine=engine,
                outlet=opened[1],
                settings=ingest,
                limits=limits_of(guards),
            )
        )
        app = ingest_app(kafka, pipeline, worker)
        skip_retention_gaps(app, kafka)
        watchdog = Watchdog(
            worker, kafka, group=INGEST_GROUP, topics=[PhotoIndexed.topic], seconds=guards.watchdog_seconds
        )
        await worker.run(app, tasks=[lambda: sweep_forever(pipeline, worker), watchdog.watch_forever])


def ingest_app(kafka: KafkaSettings, pipeline: Pipeline, worker: Worker) -> faust.App:
    """The Faust app with its one agent."""
    app = new_app(kafka, app_id=INGEST_GROUP, buffered=2 * pipeline.settings.batch_photos, fetch_often=True)
    # Faust runs the agent in a task of its own once `Worker.run` has started the app.
    add_agent(app, PhotoIndexed.topic, _agent(pipeline, worker), on_error=worker.fail)
    return app


def _agent(pipeline: Pipeline, worker: Worker) -> Callable[[Any], Awaitable[None]]:
    settings = pipeline.settings

    async def consume(stream: Any) -> None:
        places = asyncio.Semaphore(_BATCHES_AT_ONCE)
        before: asyncio.Task[None] | None = None
        async with asyncio.TaskGroup() as group:
            async for events in batches(stream, size=settings.batch_photos, within=settings.batch_wait_ms / 1000):
                await places.acquire()
                if worker.stopping:
                    return
                before = group.create_task(index_batch(pipeline, worker, events, before))
                before.add_done_callback(lambda _: places.release())
                worker.fail_if_cancelled(before)

    return consume


async def index_batch(
    pipeline: Pipeline, worker: Worker, events: Sequence[Any], before: asyncio.Task[None] | None
) -> None:
    """Index one batch of Faust events; settles it, and acknowledges it, only after the batch before it.

    So no offset is committed past an event that is not settled, however the batches overlap.
    """
    with worker.batch():
        tasks = decode_tasks(events)
        ingest_batch_photos.observe(len(tasks))
        prepared = await prepare_photos(pipeline, tasks)
        if before is not None:
            await before
        await settle_photos(pipeline, tasks, prepared)
        # Without a pause in between: a commit sees all of the batch or nothing of it.
        for event in events:
            event.ack()
    _log.info("batch_indexed", photos=len(tasks), events=len(events))


def decode_tasks(events: Sequence[Any]) -> list[Task]:
    """The photos to index. Undecodable events are left out: intake gives them up (`decode_or_give_up`)."""
    tasks = []
    for event in events:
        record = record_from_message(event.message)
        try:
            photo = PhotoEvent(event=record.decode(PhotoIndexed), origin=record.origin)
        except PermanentError as exc:
            events_total.labels(topic=PhotoIndexed.topic, outcome=exc.code).inc()
            continue
        events_total.labels(topic=PhotoIndexed.topic, outcome="applied").inc()
        tasks.append(Task(photo=photo, record=record))
    return tasks


def lower_priority() -> None:
    """Let searches on the same machine go first. Where that cannot be set, ingest runs at normal priority."""
    try:
        # Linux sets the priority of one thread alone; the engine's threads are there already.
        for thread in Path("/proc/self/task").iterdir():
            os.setpriority(os.PRIO_PROCESS, int(thread.name), _NICENESS)
    except OSError as exc:
        _log.info("priority_unchanged", reason=exc.strerror)
