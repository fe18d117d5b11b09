"""The process of intake: a consumer and an agent for each topic, so that a deletion waits behind no photo, nor for
others. How records are applied is in `applying`."""

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import faust

from facepass.schemas.faces import GenerationSpec
from facepass.schemas.settings import (
    DatabaseSettings,
    GuardSettings,
    IndexingSettings,
    KafkaSettings,
    PhotoStoreSettings,
)
from facepass.storage.photos import UploadStore, open_photo_store
from facepass.streams.dead_letters import limits_of, watch_open_dead_letters
from facepass.streams.intake.applying import APPLY, Apply, Intake
from facepass.streams.intake.housekeeping import keep_house_forever
from facepass.streams.kafka import add_agent, batches, new_app, record_from_message
from facepass.streams.process import (
    Watchdog,
    Worker,
    open_probes,
    open_stores,
    skip_retention_gaps,
    stop_on_signals,
)

INTAKE_GROUP = "facepass-intake"

_BATCH = 1000
"""Photos registered in one transaction."""
_WITHIN = 0.05
"""Seconds that a batch waits to fill."""


async def run_intake(
    *,
    kafka: KafkaSettings,
    database: DatabaseSettings,
    photos: PhotoStoreSettings,
    indexing: IndexingSettings,
    spec: GenerationSpec,
    guards: GuardSettings,
    metrics_port: int | None = None,
) -> None:
    """Run intake until SIGTERM or SIGINT; waits for PostgreSQL, Kafka and its topics if they are absent.

    Args:
        photos: the photo store, from which uploaded photos are removed that nothing rests on.
        indexing: how long idempotency keys are kept.
        spec: of the model in use: photos become pending in its generation.
        guards: when the process ends by itself.
        metrics_port: of the probes; None for none.

    Raises: what ended the work; the process is to end with a non-zero status then.
    """
    worker = Worker("intake")
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(stop_on_signals(worker))
        if metrics_port is not None:
            await stack.enter_async_context(
                open_probes(metrics_port, worker=worker.name, not_ready=worker.not_ready)
            )
        opened = await worker.unless_stopped(
            open_stores(stack, kafka=kafka, topics=tuple(APPLY), database=database, spec=spec)
        )
        if opened is None:
            return
        intake = Intake(store=opened[0], outlet=opened[1], limits=limits_of(guards))
        apps = intake_apps(kafka, intake, worker)
        for app in apps:
            skip_retention_gaps(app, kafka)
        watchdog = Watchdog(
            worker, kafka, group=INTAKE_GROUP, topics=tuple(APPLY), seconds=guards.watchdog_seconds
        )
        uploads = UploadStore(intake.store.database, await stack.enter_async_context(open_photo_store(photos)))
        tasks = [
            watchdog.watch_forever,
            lambda: watch_open_dead_letters(kafka),
            lambda: keep_house_forever(
                intake.store.database, uploads, keys_kept_seconds=indexing.idempotency_hours * 3600
            ),
        ]
        await worker.run(*apps, tasks=tasks)


def intake_apps(kafka: KafkaSettings, intake: Intake, worker: Worker) -> list[faust.App]:
    """A Faust app for each topic, all of one group.

    One app reads all its topics in one loop, which stands still while any agent's buffer is full: a session's
    deletion was seen to wait half a minute behind photos, and without end behind deletions of single photos.
    """
    apps = []
    for topic, apply in APPLY.items():
        app = new_app(kafka, app_id=INTAKE_GROUP, buffered=2 * _BATCH)
        # Faust runs the agent in a task of its own once `Worker.run` has started the app.
        add_agent(app, topic, _agent(intake, worker, apply), on_error=worker.fail)
        apps.append(app)
    return apps


def _agent(intake: Intake, worker: Worker, apply: Apply) -> Callable[[Any], Awaitable[None]]:
    async def consume(stream: Any) -> None:
        async for events in batches(stream, size=_BATCH, within=_WITHIN):
            if worker.stopping:
                return
            with worker.batch():
                await apply(intake, [record_from_message(event.message) for event in events])
                for event in events:
                    event.ack()

    return consume
