"""Several writers on the same sessions at once, beside a reader that follows the revisions."""

import asyncio
import random
from collections.abc import AsyncIterator

import pytest
from support.ledger import Storage, assert_ledger_is_exact, at, open_storage, outcome, photo_event

from facepass.schemas.events import SessionUpdated
from facepass.schemas.ids import PhotoId, SessionId
from facepass.schemas.ledger import PhotoState
from facepass.schemas.settings import DatabaseSettings
from facepass.storage.writes import (
    claim_overdue,
    delete_photo,
    delete_session,
    register_photos,
    save_photos,
    update_session,
)

SESSIONS = [SessionId(name) for name in "abc"]
PHOTOS = [PhotoId(f"p{number}") for number in range(12)]
WRITERS, STEPS = 5, 25

Shard = dict[str, set[tuple[int, str]]]
"""Photo to its faces: what a shard built from deltas alone holds."""


@pytest.fixture
async def storage(database_settings: DatabaseSettings) -> AsyncIterator[Storage]:
    async with open_storage(database_settings) as opened:
        yield opened


async def _write(storage: Storage, seed: int) -> None:
    store, chance = storage.store, random.Random(seed)  # noqa: S311 - repeatable
    for step in range(STEPS):
        events = [
            photo_event(chance.choice(SESSIONS), chance.choice(PHOTOS), chance.randint(0, 40))
            for _ in range(chance.randint(1, 10))
        ]
        kind = chance.random()
        if kind < 0.35:
            await register_photos(store, events)
        elif kind < 0.8:
            states = chance.choices([PhotoState.INDEXED, PhotoState.NO_FACE, PhotoState.PENDING], k=len(events))
            await save_photos(store, list(map(outcome, events, states)), retry_hours=24)
        elif kind < 0.9:
            await delete_photo(store, events[0].event.session_id, events[0].event.photo_id, at(step))
        elif kind < 0.94:
            await delete_session(store, events[0].event.session_id, at(step))
        elif kind < 0.97:
            await storage.execute(
                "UPDATE photo_results SET next_attempt_at = clock_timestamp()"
                " WHERE state = 'pending' AND photo_id = 'p1'"
            )
            await claim_overdue(store, 3)
        else:
            await update_session(
                storage.db, SessionUpdated(session_id=events[0].event.session_id, occurred_at=at(step).isoformat())
            )


async def _read_delta(storage: Storage, session: str, since: int, shard: Shard) -> int:
    """Bring `shard` from `since` to the session's revision, as a follower does."""
    values = {"session": session, "since": since}
    async with storage.db.transaction(snapshot=True) as connection:
        row = await (
            await connection.execute(
                "SELECT revision FROM session_generations WHERE session_id = %(session)s", values
            )
        ).fetchone()
        photos = await (
            await connection.execute(
                "SELECT photo_id FROM photo_results WHERE session_id = %(session)s AND revision > %(since)s",
                values,
            )
        ).fetchall()
        faces = await (
            await connection.execute(
                "SELECT photo_id, face_index, embedding::text FROM face_embeddings JOIN photo_results AS r"
                " USING (generation, session_id, photo_id)"
                " WHERE session_id = %(session)s AND r.revision > %(since)s",
                values,
            )
        ).fetchall()
    for (photo,) in photos:
        shard.pop(photo, None)
    for photo, index, embedding in faces:
        shard.setdefault(photo, set()).add((index, embedding))
    return row[0] if row else 0


async def _follow(storage: Storage, done: asyncio.Event) -> dict[str, Shard]:
    shards: dict[str, Shard] = {session: {} for session in SESSIONS}
    revisions = dict.fromkeys(SESSIONS, 0)
    finished = False
    while not finished:
        finished = done.is_set()
        for session in SESSIONS:
            revision = await _read_delta(storage, session, revisions[session], shards[session])
            assert revision >= revisions[session]
            revisions[session] = revision
    return shards


@pytest.mark.parametrize("seed", [1, 2])
async def test_writers_do_not_deadlock_and_a_reader_of_deltas_misses_nothing(storage: Storage, seed: int) -> None:
    done = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        follower = group.create_task(_follow(storage, done))
        await asyncio.gather(*(_write(storage, seed * 100 + number) for number in range(WRITERS)))
        done.set()
    await assert_ledger_is_exact(storage)
    rows = await storage.rows("SELECT session_id, photo_id, face_index, embedding::text FROM face_embeddings")
    expected: dict[str, Shard] = {session: {} for session in SESSIONS}
    for session, photo, index, embedding in rows:
        expected[session].setdefault(photo, set()).add((index, embedding))
    assert follower.result() == expected
    # a deadlock would have been run again, and gone unnoticed but for this
    await storage.execute("SELECT pg_stat_force_next_flush()")
    assert await storage.rows("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()") == [
        (0,)
    ]


async def test_a_registration_waits_for_a_deletion_of_its_session(storage: Storage) -> None:
    """Without intake's lock a photo registered beside the deletion would stay pending in a deleted session."""
    async with storage.db.transaction() as connection:
        await connection.execute("INSERT INTO sessions VALUES ('a')")
        waiting = asyncio.create_task(register_photos(storage.store, [photo_event("a", "p", 5)]))
        while not await storage.rows("SELECT pg_sleep(0.01) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"):
            pass
        await connection.execute("UPDATE sessions SET deleted_at = %s WHERE session_id = 'a'", (at(9),))
    assert await waiting == ["fenced"]
    assert await storage.rows("SELECT 1 FROM photo_results") == []
