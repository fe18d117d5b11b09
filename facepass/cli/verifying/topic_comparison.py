"""The events that the topics still hold against the ledger: every photo accounted for, every deletion a fence."""

from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import TypeVar

from facepass.cli.verifying.comparison import Comparison, twice
from facepass.schemas.errors import PermanentError
from facepass.schemas.events import Event, PhotoDeleted, PhotoIndexed, SessionDeleted
from facepass.schemas.ledger import Origin
from facepass.schemas.settings import KafkaSettings
from facepass.storage.reads import (
    Compared,
    Difference,
    Unaccounted,
    place,
    unaccounted_photos,
    unfenced_deletions,
)
from facepass.streams.intake import INTAKE_GROUP
from facepass.streams.kafka import Record, TopicReader, open_topic_reader

E = TypeVar("E", bound=Event)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Consumed = tuple[E, Origin]


async def compare_topics(comparison: Comparison, kafka: KafkaSettings) -> AsyncIterator[Difference]:
    """Read the three topics as far as intake has, and look every event up.

    Undecodable events are passed over: intake puts them on the dead letters.

    Raises:
        TransientError: `broker_unavailable`, `topic_missing`, `database_unavailable`.
        PermanentError: `topic_compacted`, `event_refused`.
    """
    topics = [PhotoIndexed.topic, PhotoDeleted.topic, SessionDeleted.topic]
    async with open_topic_reader(kafka, topics, group=INTAKE_GROUP) as reader:
        for where, (end, committed) in (await reader.wait_for_group(comparison.patience)).items():
            yield _lag(where, end, committed)
        async for photos in _events(comparison, reader, PhotoIndexed):
            for difference in await twice(partial(_missing_photos, comparison, photos)):
                yield difference
        async for deleted in _events(comparison, reader, PhotoDeleted):
            for difference in await twice(partial(_missing_fences, comparison, deleted)):
                yield difference
        async for gone in _events(comparison, reader, SessionDeleted):
            for difference in await twice(partial(_missing_fences, comparison, gone)):
                yield difference


async def _events(comparison: Comparison, reader: TopicReader, kind: type[E]) -> AsyncIterator[list[Consumed[E]]]:
    """The events of one topic that can be decoded and are compared, some at a time."""
    begun, done = datetime.now(UTC), 0
    async for records in reader.read(kind.topic):
        found = [(event, record.origin) for record in records if (event := _decoded(record, kind, begun))]
        if some := [one for one in found if comparison.session in {None, one[0].session_id}]:
            yield some
        done += len(records)
        comparison.progress.tell(f"records of {kind.topic}", done, max(done, reader.records(kind.topic)))


def _decoded(record: Record, kind: type[E], begun: datetime) -> E | None:
    try:
        event = record.decode(kind)
    except PermanentError:
        return None
    if not event.occurred_at_given and event.occurred_at > begun:
        # A record without a timestamp: intake took the time of its reading, which only the row knows.
        return event.model_copy(update={"occurred_at": _EPOCH})
    return event


async def _missing_photos(comparison: Comparison, events: Sequence[Consumed[PhotoIndexed]]) -> list[Difference]:
    asked = [event for event, _ in events]
    missing = await unaccounted_photos(comparison.store, asked)
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
    comparison: Comparison, events: Sequence[Consumed[PhotoDeleted]] | Sequence[Consumed[SessionDeleted]]
) -> list[Difference]:
    missing = await unfenced_deletions(comparison.store.database, [event for event, _ in events])
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
        compared=Compared.TOPICS,
        where=f"{origin.topic}[{origin.partition}]@{origin.offset}, {place(event.session_id, photo)}",
        what=what,
        expected=f"one of {event.occurred_at.isoformat()} or later",
        found=found,
        remedy=remedy,
    )


def _lag(where: str, end: int, committed: int | None) -> Difference:
    return Difference(
        compared=Compared.TOPICS,
        where=where,
        what=f"offset of {INTAKE_GROUP}",
        expected=f"{end} or later",
        found="none" if committed is None else str(committed),
        remedy="is `facepass intake` running? What it has not read yet was not compared; verify again later",
    )
