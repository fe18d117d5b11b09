"""The write doors for photos: registering, triage before the work, and saving what came of it."""

import random
from collections.abc import Mapping, Sequence
from typing import Any

from facepass.schemas.ledger import Effect, PhotoEvent, PhotoOutcome, PhotoState
from facepass.schemas.metrics import embeddings_total
from facepass.storage.database import Connection
from facepass.storage.generations import Generation, Store
from facepass.storage.writes.counters import in_lock_order, next_revision, write_ledgers
from facepass.storage.writes.face_encoding import encode_faces, encode_left_out
from facepass.storage.writes.locked_rows import STATEMENTS, Key, Known, key_of, lock_sessions, read_rows
from facepass.storage.writes.rules import (
    Row,
    Settled,
    apply_outcome,
    apply_registration,
    judge_processing,
    judge_registration,
)
from facepass.storage.writes.updates import Written, row_update, settled_update

LEFT_PENDING_SECONDS = 3600.0
"""When the sweep takes up a registered photo that nothing else has settled: its event may be lost. An hour is more
than ingest needs to come round to it in normal work."""


async def register_photos(store: Store, events: Sequence[PhotoEvent]) -> list[Effect]:
    """Register photos as pending; one transaction, effects in the order of `events`.

    Keeps stored faces and the revision: nothing that a search sees changes.

    Raises: as `Database.run`.
    """
    if not events:
        return []
    return await store.database.run(lambda connection: _register(connection, store.generation.number, events))


async def _register(connection: Connection, generation: int, events: Sequence[PhotoEvent]) -> list[Effect]:
    await lock_sessions(connection, (event.session_id for event in events))
    known = await read_rows(connection, generation, events)
    rows: dict[Key, Row] = {}
    newest: dict[Key, PhotoEvent] = {}
    effects = []
    for event in events:
        key = key_of(event)
        row = rows.get(key) or known.rows[key]
        settled = judge_registration(row, event)
        if settled is None:
            rows[key], newest[key] = apply_registration(row, event), event
        effects.append(settled.effect if settled else Effect.WRITTEN)
    if newest:
        columns = await _write_events(connection, known, newest)
        await connection.execute(
            STATEMENTS["write_pending"],
            {**columns, "generation": generation, "seconds": LEFT_PENDING_SECONDS},
        )
        await write_ledgers(connection, generation, known, rows)
    return effects


async def triage_photos(store: Store, events: Sequence[PhotoEvent]) -> list[Written | None]:
    """Which of `events` must be fetched and embedded: None. Of the others, what `save_photos` would answer.

    Only reads; `save_photos` judges again under its locks. In the order of `events`.

    Raises: as `Database.run`.
    """
    if not events:
        return []
    known = await store.database.run(lambda connection: read_rows(connection, store.generation.number, events))
    answers: list[Written | None] = []
    for event in events:
        row = known.rows[key_of(event)]
        settled = judge_processing(row, event)
        revision = known.revisions[event.session_id] or 0
        answers.append(settled_update(store.generation, event, row, settled, revision) if settled else None)
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
        lambda connection: _save(connection, store.generation, outcomes, retry_hours)
    )
    embeddings_total.inc(faces)
    return answers


async def _save(
    connection: Connection, generation: Generation, outcomes: Sequence[PhotoOutcome], retry_hours: float
) -> tuple[list[Written], int]:
    events = [outcome.event for outcome in outcomes]
    await lock_sessions(connection, (event.session_id for event in events))
    known = await read_rows(connection, generation.number, events)
    rows: dict[Key, Row] = {}
    newest: dict[Key, PhotoEvent] = {}
    results: dict[Key, PhotoOutcome] = {}
    answers = []
    for outcome in outcomes:
        key = key_of(outcome.event)
        row = rows.get(key) or known.rows[key]
        after = _after(row, outcome, known, retry_hours)
        if isinstance(after, Settled):
            revision = known.revisions[outcome.event.session_id] or 0
            answers.append(settled_update(generation, outcome.event, row, after, revision))
        else:
            rows[key], newest[key] = after, outcome.event
            if after.state is not PhotoState.PENDING:
                results[key] = outcome
            answers.append(Written(effect=Effect.WRITTEN, update=row_update(generation, outcome.event, after)))
    if rows:
        columns = await _write_events(connection, known, newest)
        columns |= {**_result_columns(rows, results), "generation": generation.number}
        await connection.execute(STATEMENTS["write_results"], columns)
        await _replace_faces(connection, generation.number, known, rows, results)
        await write_ledgers(connection, generation.number, known, rows)
    return answers, sum(len(outcome.found.faces) for outcome in results.values() if outcome.found)


def _after(row: Row, outcome: PhotoOutcome, known: Known, retry_hours: float) -> Row | Settled:
    settled = judge_processing(row, outcome.event)
    if settled is not None:
        return settled
    after = apply_outcome(
        row,
        outcome,
        revision=next_revision(known, outcome.event.session_id),
        now=known.now,
        retry_hours=retry_hours,
        spread=random.uniform(0.5, 1.5),  # noqa: S311 - spreads retries, no secret
    )
    return Settled(effect=Effect.DUPLICATE) if after is None else after


async def _write_events(connection: Connection, known: Known, newest: Mapping[Key, PhotoEvent]) -> dict[str, Any]:
    """Write what the events say; the columns of `newest`, for the statements that go by them."""
    columns = _event_columns(newest)
    await connection.execute(STATEMENTS["write_photos"], columns)
    replaced = [key for photo, key in known.uploads.items() if photo in newest and newest[photo].s3_key != key]
    if replaced:
        await connection.execute(STATEMENTS["release_uploads"], {"keys": replaced})
    return columns


async def _replace_faces(
    connection: Connection,
    generation: int,
    known: Known,
    rows: Mapping[Key, Row],
    results: Mapping[Key, PhotoOutcome],
) -> None:
    """Faces come from a photo's newest result, also when a newer event of the same batch is pending."""
    stale = in_lock_order(key for key in results if known.rows[key].faces_stored)
    if stale:
        await connection.execute(
            STATEMENTS["remove_faces"],
            {"generation": generation, "sessions": [s for s, _ in stale], "photos": [p for _, p in stale]},
        )
    if any(outcome.found and outcome.found.faces for outcome in results.values()):
        new = encode_faces(generation, [(results[key], rows[key].revision) for key in in_lock_order(results)])
        async with connection.cursor().copy(STATEMENTS["copy_faces"]) as copy:
            await copy.write(new)


def _event_columns(events: Mapping[Key, PhotoEvent]) -> dict[str, Any]:
    ordered = [events[key] for key in in_lock_order(events)]
    return {
        "sessions": [event.session_id for event in ordered],
        "photos": [event.photo_id for event in ordered],
        "s3_keys": [event.s3_key for event in ordered],
        "times": [event.occurred_at for event in ordered],
        "topics": [event.origin.topic for event in ordered],
        "partitions": [event.origin.partition for event in ordered],
        "offsets": [event.origin.offset for event in ordered],
    }


def _result_columns(rows: Mapping[Key, Row], results: Mapping[Key, PhotoOutcome]) -> dict[str, Any]:
    keys = in_lock_order(rows)
    ordered = [rows[key] for key in keys]
    outcomes = [results.get(key) for key in keys]
    return {
        "states": [row.state for row in ordered],
        "revisions": [row.revision for row in ordered],
        "stored": [row.faces_stored for row in ordered],
        "detected": [row.faces_detected for row in ordered],
        "confidences": [row.confidence for row in ordered],
        "errors": [row.error for row in ordered],
        "attempts": [row.attempts for row in ordered],
        "first_failures": [row.first_failed_at for row in ordered],
        "next_attempts": [row.next_attempt_at for row in ordered],
        "etags": [outcome and outcome.etag for outcome in outcomes],
        "left_out": [encode_left_out(outcome.found) if outcome else None for outcome in outcomes],
    }
