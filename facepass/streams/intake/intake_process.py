"""Intake: registers photos as pending, thousands a second, and applies deletions and session updates.

Each topic has a consumer and an agent of its own, so that a deletion waits behind no photo, nor behind others.
"""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any, TypeVar

import faust

from facepass.schemas.errors import ErrorCode, PermanentError
from facepass.schemas.events import Event, PhotoDeleted, PhotoIndexed, SessionDeleted, SessionUpdated
from facepass.schemas.faces import GenerationSpec
from facepass.schemas.ledger import Effect
from facepass.schemas.logs import get_logger
from facepass.schemas.metrics import events_total, photos_deleted_total, sessions_deleted_total
from facepass.schemas.photo_events import PhotoEvent
from facepass.schemas.settings import (
    DatabaseSettings,
    GuardSettings,
    IndexingSettings,
    KafkaSettings,
    PhotoStoreSettings,
)
from facepass.storage import Store
from facepass.storage.photos import UploadStore, open_photo_store
from facepass.storage.writes import Deletion, delete_photo, delete_session, register_photos, update_session
from facepass.streams.dead_letters import DeadLetterLimits, Outlet, limits_of, send_dead_letter, watch_open_letters
from facepass.streams.intake.housekeeping import keep_house_forever
from facepass.streams.kafka import (
    DeadLetter,
    Record,
    add_agent,
    batches,
    new_app,
    record_from_message,
)
from facepass.streams.process import (
    Watchdog,
    Worker,
    go_on_after_gaps,
    open_probes,
    open_stores,
    stop_on_signals,
    until_available,
)

_log = get_logger(__name__)

INTAKE_GROUP = "facepass-intake"

TOPICS = (PhotoIndexed.topic, PhotoDeleted.topic, SessionDeleted.topic, SessionUpdated.topic)

_BATCH = 1000
"""Photos registered in one transaction."""
_WITHIN = 0.05
"""Seconds that a batch waits to fill."""

E = TypeVar("E", bound=Event)


@dataclass(frozen=True, slots=True, kw_only=True)
class Intake:
    """What the agents work with; `limits` on the events that cannot be decoded."""

    store: Store
    outlet: Outlet
    limits: DeadLetterLimits = field(default_factory=DeadLetterLimits)


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
            open_stores(stack, kafka=kafka, topics=TOPICS, database=database, spec=spec)
        )
        if opened is None:
            return
        intake = Intake(store=opened[0], outlet=opened[1], limits=limits_of(guards))
        apps = intake_apps(kafka, intake, worker)
        for app in apps:
            go_on_after_gaps(app, kafka)
        watchdog = Watchdog(worker, kafka, group=INTAKE_GROUP, topics=TOPICS, seconds=guards.watchdog_seconds)
        uploads = UploadStore(intake.store.database, await stack.enter_async_context(open_photo_store(photos)))
        tasks = [
            watchdog.watch_forever,
            lambda: watch_open_letters(kafka),
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
    settlers: dict[str, Settle] = {
        PhotoIndexed.topic: register,
        PhotoDeleted.topic: one_by_one(PhotoDeleted, remove_photo),
        SessionDeleted.topic: one_by_one(SessionDeleted, remove_session),
        SessionUpdated.topic: one_by_one(SessionUpdated, announce_session),
    }
    apps = []
    for topic, settle in settlers.items():
        app = new_app(kafka, app_id=INTAKE_GROUP, buffered=2 * _BATCH)
        add_agent(app, topic, _agent(intake, worker, settle), on_error=worker.fail)
        apps.append(app)
    return apps


Settle = Callable[[Intake, Sequence[Record]], Awaitable[None]]
"""Settles a batch: when it returns, every record of it is in a committed transaction or on the dead letters."""


def _agent(intake: Intake, worker: Worker, settle: Settle) -> Callable[[Any], Awaitable[None]]:
    async def consume(stream: Any) -> None:
        async for events in batches(stream, size=_BATCH, within=_WITHIN):
            if worker.stopping:
                return
            with worker.batch():
                await settle(intake, [record_from_message(event.message) for event in events])
                for event in events:
                    event.ack()

    return consume


async def register(intake: Intake, records: Sequence[Record]) -> None:
    """Register photos as pending, in bulk."""
    decoded = await decode_and_bury(intake, PhotoIndexed, records)
    photos = [PhotoEvent(event=event, origin=record.origin) for record, event in decoded]
    if not photos:
        return
    effects = await until_available(lambda: register_photos(intake.store, photos), waiting_for="PostgreSQL")
    for effect in Effect:
        if found := effects.count(effect):
            outcome = "applied" if effect is Effect.WRITTEN else str(effect)
            events_total.labels(topic=PhotoIndexed.topic, outcome=outcome).inc(found)
    _log.debug("photos_registered", photos=len(photos), pending=effects.count(Effect.WRITTEN))


def one_by_one(kind: type[E], apply: Callable[[Intake, E], Awaitable[str]]) -> Settle:
    """Settle each record in a transaction of its own, in order. `apply` returns the outcome for the metrics."""

    async def settle(intake: Intake, records: Sequence[Record]) -> None:
        for _, event in await decode_and_bury(intake, kind, records):
            events_total.labels(topic=kind.topic, outcome=await apply(intake, event)).inc()

    return settle


async def remove_session(intake: Intake, event: SessionDeleted) -> str:
    """Delete a session, then publish its update."""
    deletion = await until_available(
        lambda: delete_session(intake.store, event.session_id, event.occurred_at),
        waiting_for="PostgreSQL",
    )
    return await _deleted(intake, event, deletion, photo_id=None)


async def remove_photo(intake: Intake, event: PhotoDeleted) -> str:
    """Delete a photo, then publish its update."""
    deletion = await until_available(
        lambda: delete_photo(intake.store, event.session_id, event.photo_id, event.occurred_at),
        waiting_for="PostgreSQL",
    )
    return await _deleted(intake, event, deletion, photo_id=event.photo_id)


async def announce_session(intake: Intake, event: SessionUpdated) -> str:
    """Take over what Pixora says of a session."""
    effect = await until_available(lambda: update_session(intake.store.database, event), waiting_for="PostgreSQL")
    _log.info("session_updated", session_id=event.session_id, effect=str(effect))
    return "applied" if effect is Effect.WRITTEN else str(effect)


async def decode_and_bury(intake: Intake, kind: type[E], records: Sequence[Record]) -> list[tuple[Record, E]]:
    """The events that can be decoded; of the others a dead letter and a line in the log each.

    Intake alone buries undecodable events, those of `photo-indexed` too, which ingest reads as well: intake reads
    every topic of Pixora's, is ahead of ingest, and so this is the one place to look and to count at.

    Raises:
        PermanentError: `too_many_dead_letters`; none is buried then.
    """
    decoded: list[tuple[Record, E]] = []
    refused: list[tuple[Record, PermanentError]] = []
    verdicts: list[ErrorCode | None] = []
    for record in records:
        try:
            decoded.append((record, record.decode(kind)))
            verdicts.append(None)
        except PermanentError as exc:
            refused.append((record, exc))
            verdicts.append(exc.code)
    intake.limits.admit(kind.topic, verdicts)
    for record, error in refused:
        await _bury(intake.outlet, record, error)
    return decoded


async def _bury(outlet: Outlet, record: Record, error: PermanentError) -> None:
    origin = record.origin
    _log.warning(
        "event_refused", topic=origin.topic, partition=origin.partition, offset=origin.offset, error=error
    )
    events_total.labels(topic=origin.topic, outcome=error.code).inc()
    letter = DeadLetter(record=record, occurred_at=record.recorded_at, code=error.code, text=error.message)
    await send_dead_letter(outlet, letter)


async def _deleted(intake: Intake, event: Event, deletion: Deletion, *, photo_id: str | None) -> str:
    await until_available(lambda: intake.outlet.publish_all([deletion.update]), waiting_for="Kafka")
    (photos_deleted_total if photo_id else sessions_deleted_total).inc()
    _log.info(
        "photo_deleted" if photo_id else "session_deleted",
        session_id=event.session_id,
        **({"photo_id": photo_id} if photo_id else {}),
        faces_removed=deletion.faces_removed,
        photos_removed=deletion.photos_removed,
        revision=deletion.update.revision,
    )
    return "applied"
