"""The write doors for photos: registering, triage before the work, and saving what came of it."""

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from facepass.schemas.ledger import Effect, PhotoState
from facepass.schemas.metrics import embeddings_total
from facepass.schemas.photo_events import PhotoEvent, PhotoOutcome
from facepass.storage.database import Connection
from facepass.storage.generations import Store
from facepass.storage.writes.ledger_rows import (
    STATEMENTS,
    Key,
    LedgerRows,
    lock_sessions,
    read_rows,
    write_counters,
)
from facepass.storage.writes.photo_columns import encode_faces, result_columns
from facepass.storage.writes.photo_rules import (
    LedgerRow,
    Unchanged,
    Written,
    answer,
    apply_outcome,
    apply_registration,
    judge_processing,
    judge_registration,
)

LEFT_PENDING_SECONDS = 3600.0
"""When the sweep takes up a registered photo that nothing else has settled: its event may be lost. An hour is more
than ingest needs to come round to it in normal work."""


async def register_photos(store: Store, photos: Sequence[PhotoEvent]) -> list[Effect]:
    """Register photos as pending; one transaction, effects in the order of `photos`.

    Keeps stored faces and the revision: nothing that a search sees changes.

    Raises: as `Database.run`.
    """
    if not photos:
        return []
    return await store.database.run(lambda connection: _register(connection, store.generation.number, photos))


@dataclass(slots=True)
class _Changed:
    """The photos that one call changes.

    Attributes:
        rows: as they are now.
        events: what they rest on.
        outcomes: their newest results; none of a photo that is still pending.
    """

    rows: dict[Key, LedgerRow] = field(default_factory=dict)
    events: dict[Key, PhotoEvent] = field(default_factory=dict)
    outcomes: dict[Key, PhotoOutcome] = field(default_factory=dict)


async def _register(connection: Connection, generation: int, photos: Sequence[PhotoEvent]) -> list[Effect]:
    keys = [key_of(photo) for photo in photos]
    await lock_sessions(connection, (session for session, _ in keys))
    ledger = await read_rows(connection, generation, keys)
    changed, effects = _Changed(), []
    for key, photo in zip(keys, photos, strict=True):
        row = changed.rows.get(key) or ledger.photos[key]
        unchanged = judge_registration(row, photo.event)
        if unchanged is None:
            changed.rows[key], changed.events[key] = apply_registration(row, photo.event), photo
        effects.append(unchanged.effect if unchanged else Effect.WRITTEN)
    if changed.rows:
        columns = await _write_events(connection, ledger, changed.events)
        await connection.execute(
            STATEMENTS["write_pending"],
            {**columns, "generation": generation, "seconds": LEFT_PENDING_SECONDS},
        )
        await write_counters(connection, generation, ledger, changed.rows)
    return effects


async def triage_photos(store: Store, photos: Sequence[PhotoEvent]) -> list[Written | None]:
    """An answer for each: None if the photo must be fetched and embedded, else what `save_photos` would answer.

    Only reads, and yet has its place here: it answers for `save_photos`, by the same rows and rules. That one
    judges again under its locks. In the order of `photos`.

    Raises: as `Database.run`.
    """
    if not photos:
        return []
    number, keys = store.generation.number, [key_of(photo) for photo in photos]
    ledger = await store.database.run(lambda connection: read_rows(connection, number, keys))
    answers: list[Written | None] = []
    for key, photo in zip(keys, photos, strict=True):
        row, revision = ledger.photos[key], ledger.revisions[key[0]] or 0
        unchanged = judge_processing(row, photo.event)
        answers.append(
            answer(photo, row, generation=number, revision=revision, unchanged=unchanged) if unchanged else None
        )
    return answers


async def save_photos(store: Store, outcomes: Sequence[PhotoOutcome], *, retry_hours: float) -> list[Written]:
    """Write what became of some photos, their faces included; one transaction, answers in the order of `outcomes`.

    Raises the revision of each session of which it changes a result, by one. A pending outcome keeps the faces
    stored before; after `retry_hours` of them the photo is failed, and its `update` says so.

    Raises: as `Database.run`; `internal` also if an embedding is not normalised.
    """
    if not outcomes:
        return []
    answers, faces = await store.database.run(
        lambda connection: _save(connection, store.generation.number, outcomes, retry_hours)
    )
    embeddings_total.inc(faces)
    return answers


async def _save(
    connection: Connection, generation: int, outcomes: Sequence[PhotoOutcome], retry_hours: float
) -> tuple[list[Written], int]:
    keys = [key_of(outcome.photo) for outcome in outcomes]
    await lock_sessions(connection, (session for session, _ in keys))
    ledger = await read_rows(connection, generation, keys)
    changed, answers = _Changed(), []
    for key, outcome in zip(keys, outcomes, strict=True):
        row, revision = changed.rows.get(key) or ledger.photos[key], ledger.revisions[key[0]] or 0
        after = apply_outcome(
            row,
            outcome,
            revision=revision + 1,
            now=ledger.now,
            retry_hours=retry_hours,
            spread=random.uniform(0.5, 1.5),  # noqa: S311 - spreads retries, no secret
        )
        unchanged = after if isinstance(after, Unchanged) else None
        if not isinstance(after, Unchanged):
            row = changed.rows[key] = after
            changed.events[key] = outcome.photo
            if after.state is not PhotoState.PENDING:
                changed.outcomes[key] = outcome
        answers.append(answer(outcome.photo, row, generation=generation, revision=revision, unchanged=unchanged))
    if changed.rows:
        await _write_results(connection, generation, ledger, changed)
    return answers, sum(len(outcome.found.faces) for outcome in changed.outcomes.values() if outcome.found)


async def _write_results(connection: Connection, generation: int, ledger: LedgerRows, changed: _Changed) -> None:
    """Write results; faces come from a photo's newest one, also when a newer event of the same call is pending."""
    columns = await _write_events(connection, ledger, changed.events)
    rows = {key: changed.rows[key] for key in in_lock_order(changed.rows)}
    outcomes = {key: changed.outcomes[key] for key in rows if key in changed.outcomes}
    columns |= {**result_columns(rows, outcomes), "generation": generation}
    await connection.execute(STATEMENTS["write_results"], columns)
    stale = [key for key in outcomes if ledger.photos[key].faces_stored]
    if stale:
        await connection.execute(
            STATEMENTS["remove_faces"],
            {"generation": generation, "sessions": [s for s, _ in stale], "photos": [p for _, p in stale]},
        )
    if any(outcome.found and outcome.found.faces for outcome in outcomes.values()):
        new = encode_faces(generation, [(outcome, rows[key].revision) for key, outcome in outcomes.items()])
        async with connection.cursor().copy(STATEMENTS["copy_faces"]) as copy:
            await copy.write(new)
    await write_counters(connection, generation, ledger, rows)


async def _write_events(
    connection: Connection, ledger: LedgerRows, photos: Mapping[Key, PhotoEvent]
) -> dict[str, Any]:
    """Write what the events say; their columns in the order of locks, for the statements that go by them."""
    columns = _event_columns([photos[key] for key in in_lock_order(photos)])
    await connection.execute(STATEMENTS["write_photos"], columns)
    replaced = [
        s3_key for key, s3_key in ledger.uploads.items() if key in photos and photos[key].event.s3_key != s3_key
    ]
    if replaced:
        await connection.execute(STATEMENTS["release_uploads"], {"keys": replaced})
    return columns


def _event_columns(photos: Sequence[PhotoEvent]) -> dict[str, Any]:
    return {
        "sessions": [photo.event.session_id for photo in photos],
        "photos": [photo.event.photo_id for photo in photos],
        "s3_keys": [photo.event.s3_key for photo in photos],
        "times": [photo.event.occurred_at for photo in photos],
        "topics": [photo.origin.topic for photo in photos],
        "partitions": [photo.origin.partition for photo in photos],
        "offsets": [photo.origin.offset for photo in photos],
    }


def key_of(photo: PhotoEvent) -> Key:
    """The photo's key in the ledger."""
    return photo.event.session_id, photo.event.photo_id


def in_lock_order(keys: Iterable[Key]) -> list[Key]:
    """The keys sorted: code points sort as UTF-8 bytes do, which is how PostgreSQL's collation "C" compares."""
    return sorted(keys)
