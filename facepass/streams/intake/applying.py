"""The applying of what intake reads: photos registered in bulk, deletions and session updates one by one."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from facepass.schemas.errors import ErrorCode, PermanentError
from facepass.schemas.events import Event, PhotoDeleted, PhotoIndexed, SessionDeleted, SessionUpdated
from facepass.schemas.ledger import Effect
from facepass.schemas.logs import get_logger
from facepass.schemas.metrics import events_total, photos_deleted_total, sessions_deleted_total
from facepass.schemas.photo_events import PhotoEvent
from facepass.storage import Store
from facepass.storage.writes import Deletion, delete_photo, delete_session, register_photos, update_session
from facepass.streams.dead_letters import DeadLetterLimits, Outlet, send_dead_letter
from facepass.streams.kafka import DeadLetter, Record
from facepass.streams.process import until_available

_log = get_logger(__name__)

E = TypeVar("E", bound=Event)


@dataclass(frozen=True, slots=True, kw_only=True)
class Intake:
    """The means of the agents; `limits` on the events that cannot be decoded."""

    store: Store
    outlet: Outlet
    limits: DeadLetterLimits = field(default_factory=DeadLetterLimits)


Apply = Callable[[Intake, Sequence[Record]], Awaitable[None]]
"""Applies a batch: when it returns, every record of it is in a committed transaction or on the dead letters."""


async def register(intake: Intake, records: Sequence[Record]) -> None:
    """Register photos as pending, in bulk."""
    decoded = await decode_or_give_up(intake, PhotoIndexed, records)
    photos = [PhotoEvent(event=event, origin=record.origin) for record, event in decoded]
    if not photos:
        return
    effects = await until_available(lambda: register_photos(intake.store, photos), waiting_for="PostgreSQL")
    for effect in Effect:
        if found := effects.count(effect):
            outcome = "applied" if effect is Effect.WRITTEN else str(effect)
            events_total.labels(topic=PhotoIndexed.topic, outcome=outcome).inc(found)
    _log.debug("photos_registered", photos=len(photos), pending=effects.count(Effect.WRITTEN))


def one_by_one(kind: type[E], apply_one: Callable[[Intake, E], Awaitable[str]]) -> Apply:
    """An `Apply`: each record in a transaction of its own, in order. `apply_one` says what metrics call it."""

    async def apply(intake: Intake, records: Sequence[Record]) -> None:
        for _, event in await decode_or_give_up(intake, kind, records):
            events_total.labels(topic=kind.topic, outcome=await apply_one(intake, event)).inc()

    return apply


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


async def decode_or_give_up(intake: Intake, kind: type[E], records: Sequence[Record]) -> list[tuple[Record, E]]:
    """The events that can be decoded; of the others a dead letter and a line in the log each.

    Intake alone gives up undecodable events, those of `photo-indexed` too, which ingest reads as well: intake
    reads every topic of Pixora's, is ahead of ingest, and so this is the one place to look and to count at.

    Raises:
        PermanentError: `too_many_dead_letters`; none is given up then.
    """
    decoded: list[tuple[Record, E]] = []
    refused: list[tuple[Record, PermanentError]] = []
    codes: list[ErrorCode | None] = []
    for record in records:
        try:
            decoded.append((record, record.decode(kind)))
            codes.append(None)
        except PermanentError as exc:
            refused.append((record, exc))
            codes.append(exc.code)
    intake.limits.admit(kind.topic, codes)
    for record, error in refused:
        await _give_up(intake.outlet, record, error)
    return decoded


async def _give_up(outlet: Outlet, record: Record, error: PermanentError) -> None:
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


APPLY: Mapping[str, Apply] = {
    PhotoIndexed.topic: register,
    PhotoDeleted.topic: one_by_one(PhotoDeleted, remove_photo),
    SessionDeleted.topic: one_by_one(SessionDeleted, remove_session),
    SessionUpdated.topic: one_by_one(SessionUpdated, announce_session),
}
"""What is done with the records of each topic that intake reads."""
