"""What the topics still hold against the ledger: every photo accounted for, every deletion a fence."""

from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import TypeVar

from facepass.cli.verifying.scope import Scope, twice
from facepass.schemas.errors import PermanentError
from facepass.schemas.events import Event, PhotoDeleted, PhotoIndexed, SessionDeleted
from facepass.schemas.ledger import Origin
from facepass.schemas.settings import KafkaSettings
from facepass.storage.reads import (
    Comparison,
    Difference,
    Unaccounted,
    place,
    unaccounted_photos,
    unfenced_deletions,
)
from facepass.streams.intake import INTAKE_GROUP
from facepass.streams.kafka import Record, TopicReader, open_topic_reader, photo_event

E = TypeVar("E", bound=Event)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Consumed = tuple[E, Origin]


async def compare_topics(scope: Scope, kafka: KafkaSettings) -> AsyncIterator[Difference]:
    """Read the three topics as far as intake has, and look every event up.

    Undecodable events are passed over: intake puts them on the dead letters.

    Raises:
        TransientError: `broker_unavailable`, `topic_missing`, `database_unavailable`.
        PermanentError: `topic_compacted`, `event_refused`.
    """
    topics = [PhotoIndexed.topic, PhotoDeleted.topic, SessionDeleted.topic]
    async with open_topic_reader(kafka, topics, group=INTAKE_GROUP) as reader:
        for where, (end, committed) in (await reader.wait_for_group(scope.patience)).items():
            yield _lag(where, end, committed)
        async for photos in _events(scope, reader, PhotoIndexed):
            for difference in await twice(partial(_missing_photos, scope, photos)):
                yield difference
        async for deleted in _events(scope, reader, PhotoDeleted):
            for difference in await twice(partial(_missing_fences, scope, deleted)):
                yield difference
        async for gone in _events(scope, reader, SessionDeleted):
            for difference in await twice(partial(_missing_fences, scope, gone)):
                yield difference


async def _events(scope: Scope, reader: TopicReader, kind: type[E]) -> AsyncIterator[list[Consumed[E]]]:
    """The events of one topic that can be decoded and are of the scope, some at a time."""
    begun, done = datetime.now(UTC), 0
    async for records in reader.read(kind.topic):
        found = [(event, record.origin) for record in records if (event := _decoded(record, kind, begun))]
        if some := [one for one in found if scope.session in {None, one[0].session_id}]:
            yield some
        done += len(records)
        scope.progress.tell(f"records of {kind.topic}", done, max(done, reader.records(kind.topic)))


def _decoded(record: Record, kind: type[E], begun: datetime) -> E | None:
    try:
        event = record.decode(kind)
    except PermanentError:
        return None
    if not event.occurred_at_given and event.occurred_at > begun:
        # A record without a timestamp: intake took the time of its reading, which only the row knows.
        return event.model_copy(update={"occurred_at": _EPOCH})
    return event


async def _missing_photos(scope: Scope, events: Sequence[Consumed[PhotoIndexed]]) -> list[Difference]:
    asked = [photo_event(event, origin) for event, origin in events]
    missing = await unaccounted_photos(scope.store, asked)
    return [
        _difference(
            events[one.index],
            what="ledger row of the event",
            found=_found(one),
            remedy="publish the event again with a later occurred_at; this event was lost",
        )
        for one in missing
    ]


async def _missing_fences(
    scope: Scope, events: Sequence[Consumed[PhotoDeleted]] | Sequence[Consumed[SessionDeleted]]
) -> list[Difference]:
    missing = await unfenced_deletions(scope.store.database, [event for event, _ in events])
    return [
        _difference(
            events[one.index],
            what="fence of the deletion",
            found=_found(one),
            remedy="publish the deletion again, at once: what it deleted may be served",
        )
        for one in missing
    ]


def _found(one: Unaccounted) -> str:
    row = f"a row of {one.occurred_at.isoformat()}" if one.occurred_at else ""
    fence = f"a fence of {one.fence.isoformat()}" if one.fence else ""
    return " and ".join(filter(None, [row, fence])) or "none"


def _difference(
    consumed: Consumed[PhotoIndexed] | Consumed[PhotoDeleted] | Consumed[SessionDeleted],
    *,
    what: str,
    found: str,
    remedy: str,
) -> Difference:
    event, origin = consumed
    photo = None if isinstance(event, SessionDeleted) else event.photo_id
    return Difference(
        comparison=Comparison.TOPICS,
        where=f"{origin.topic}[{origin.partition}]@{origin.offset}, {place(event.session_id, photo)}",
        what=what,
        expected=f"one of {event.occurred_at.isoformat()} or later",
        found=found,
        remedy=remedy,
    )


def _lag(where: str, end: int, committed: int | None) -> Difference:
    return Difference(
        comparison=Comparison.TOPICS,
        where=where,
        what=f"offset of {INTAKE_GROUP}",
        expected=f"{end} or later",
        found="none" if committed is None else str(committed),
        remedy="is `facepass intake` running? What it has not read yet was not compared; verify again later",
    )
