"""`facepass verify` on the tables: a planted difference of every kind is found; a healthy ledger has none."""

import re
from collections.abc import AsyncIterator

import numpy as np
import pytest
from support.ledger import SPEC, Storage, at, open_storage, outcome, photo_event, random_vector
from support.shard_rows import index

from facepass.schemas.ids import PhotoId, SessionId
from facepass.schemas.ledger import PhotoState
from facepass.schemas.settings import DatabaseSettings
from facepass.storage.reads.verification import compare_tables, find_strays
from facepass.storage.writes import delete_photo, delete_session, register_photos, save_photos

S = SessionId("s")


@pytest.fixture
async def storage(database_settings: DatabaseSettings) -> AsyncIterator[Storage]:
    """A session with a photo in every state, one deleted photo, and a session deleted with a newer photo in it."""
    async with open_storage(database_settings) as opened:
        events = [
            photo_event(S, name) for name in ("pending", "again", "indexed", "none", "failed", "filtered", "gone")
        ]
        await register_photos(opened.store, events)
        await index(opened, S, "again", np.stack([random_vector("again")]))
        await index(opened, S, "indexed", np.stack([random_vector(n) for n in range(3)]))
        await index(opened, S, "gone", np.stack([random_vector("gone")]))
        others = [
            outcome(photo_event(S, "none"), PhotoState.NO_FACE),
            outcome(photo_event(S, "failed"), PhotoState.FAILED),
            outcome(photo_event(S, "filtered"), PhotoState.FILTERED),
        ]
        await save_photos(opened.store, others, retry_hours=24)
        await register_photos(opened.store, [photo_event(S, "again", 5)])
        await delete_photo(opened.store, S, PhotoId("gone"), at(1))
        await delete_photo(opened.store, S, PhotoId("never seen"), at(1))
        await index(opened, "t", "old", np.stack([random_vector("old")]))
        await index(opened, "t", "new", np.stack([random_vector("new")]), seconds=9)
        await delete_session(opened.store, SessionId("t"), at(5))
        yield opened


async def found(storage: Storage) -> list[str]:
    differences = await compare_tables(storage.store, [S, SessionId("t"), SessionId("unknown")])
    differences += await find_strays(storage.store)
    assert all(difference.remedy for difference in differences)
    return [f"{one.where}: {one.what}: {one.expected}, not {one.found}" for one in differences]


async def test_a_healthy_ledger_has_no_difference(storage: Storage) -> None:
    assert await found(storage) == []


RESULT = "photo_results SET {} WHERE session_id = 's' AND photo_id = '{}'"
PLANTED = {
    "a counter": (
        "UPDATE session_generations SET pending = pending + 1 WHERE session_id = 's'",
        ["session 's': counter pending: 2, not 3"],
    ),
    "the number of faces": (
        "UPDATE session_generations SET face_count = 7 WHERE session_id = 's'",
        ["session 's': counter face_count: 4, not 7"],
    ),
    "the number of photos": (
        "UPDATE session_generations SET photo_count = 3 WHERE session_id = 's'",
        ["session 's': counter photo_count: 2, not 3"],
    ),
    "a missing ledger": (
        "DELETE FROM session_generations WHERE session_id = 't'",
        [
            "session 't': counter indexed: 1, not 0",
            "session 't': counter deleted: 1, not 0",
            "session 't': counter photo_count: 1, not 0",
            "session 't': counter face_count: 1, not 0",
            "session 't': revision, at least the newest stamp: \\d, not 0",
        ],
    ),
    "the revision": (
        "UPDATE session_generations SET revision = 1 WHERE session_id = 't'",
        ["session 't': revision, at least the newest stamp: \\d, not 1"],
    ),
    "a missing result": (
        "WITH gone AS (DELETE FROM photo_results WHERE photo_id = 'none')"
        " UPDATE session_generations SET no_face = 0 WHERE session_id = 's'",
        ["photo 'none' of session 's': row in photo_results: one, not none"],
    ),
    "a missing photo": (
        "DELETE FROM photos WHERE photo_id = 'none'",
        ["photo 'none' of session 's': row in photos: one, not none"],
    ),
    "an extra photo": (
        "INSERT INTO photos (session_id, photo_id, s3_key, occurred_at) VALUES ('s', 'extra', 'k', now())",
        ["photo 'extra' of session 's': row in photo_results: one, not none"],
    ),
    "a time": (
        "UPDATE photos SET occurred_at = occurred_at + interval '1 s' WHERE photo_id = 'indexed'",
        ["photo 'indexed' of session 's': time of the result: 2026-05-09 12:00:01.*, not 2026-05-09 12:00:00.*"],
    ),
    "a key erased too early": (
        "UPDATE photos SET s3_key = NULL WHERE photo_id = 'pending'",
        ["photo 'pending' of session 's': S3 key: kept, not erased"],
    ),
    "a key not erased": (
        "UPDATE photos SET s3_key = 'k' WHERE photo_id = 'gone'",
        ["photo 'gone' of session 's': S3 key of a deleted photo: erased, not kept"],
    ),
    "a missing face": (
        "WITH gone AS (DELETE FROM face_embeddings WHERE photo_id = 'indexed' AND face_index = 1)"
        " UPDATE session_generations SET face_count = 3 WHERE session_id = 's'",
        [
            "photo 'indexed' of session 's': stored faces: 3, not 2",
            "photo 'indexed' of session 's': numbers of the faces: 0 to 1, not 0 to 2",
        ],
    ),
    "an extra face": (
        "WITH again AS (INSERT INTO face_embeddings SELECT generation, session_id, 'none', face_index, embedding,"
        " box_x, box_y, box_width, box_height, landmarks, confidence, quality_size, quality_sharpness,"
        " quality_yaw, quality_pitch, quality_roll, occurred_at, 0 FROM face_embeddings"
        " WHERE photo_id = 'indexed' AND face_index = 0) UPDATE session_generations"
        " SET face_count = 5, photo_count = 3 WHERE session_id = 's'",
        [
            "photo 'none' of session 's': stored faces: 0, not 1",
            "photo 'none' of session 's': revision of the faces: 4, not 0 to 0",
            "photo 'none' of session 's': state: indexed or pending, not no_face",
        ],
    ),
    "faces_stored": (
        f"UPDATE {RESULT.format('faces_stored = 2', 'indexed')}",
        ["photo 'indexed' of session 's': stored faces: 2, not 3"],
    ),
    "a stamp": (
        f"UPDATE {RESULT.format('revision = 1', 'indexed')}",
        ["photo 'indexed' of session 's': revision of the faces: 1, not 2 to 2"],
    ),
    "a photo's fence taken away": (
        "UPDATE photos SET deleted_at = NULL WHERE photo_id = 'gone'",
        ["photo 'gone' of session 's': fence of a deleted photo: at or after .*, not none"],
    ),
    "a photo's fence lowered": (
        "UPDATE photos SET deleted_at = deleted_at - interval '1 hour' WHERE photo_id = 'gone'",
        ["photo 'gone' of session 's': fence of a deleted photo: at or after .* 12:00:00.*, not .* 11:00:01.*"],
    ),
    "a session's fence raised": (
        "UPDATE sessions SET deleted_at = deleted_at + interval '1 hour' WHERE session_id = 't'",
        [
            "photo 'new' of session 't': S3 key of a deleted photo: erased, not kept",
            "photo 'new' of session 't': state behind a fence: deleted, not indexed",
            "photo 'new' of session 't': faces behind a fence: none, not 1",
        ],
    ),
    "a vector's length": (
        "UPDATE face_embeddings SET embedding = embedding + embedding WHERE photo_id = 'again'",
        ["photo 'again' of session 's': vector of face 0: 8 .* 1, not 8 floats of .*(1.99|2).*"],
    ),
    "a stray session": (
        "INSERT INTO photos (session_id, photo_id) VALUES ('nowhere', 'p')",
        ["session 'nowhere': row in sessions, for rows in photos: one, not none"],
    ),
}


@pytest.mark.parametrize("name", PLANTED)
async def test_a_planted_difference_is_found_and_named(storage: Storage, name: str) -> None:
    statement, expected = PLANTED[name]
    await storage.execute(statement)
    lines = await found(storage)
    assert len(lines) == len(expected), lines
    for line, pattern in zip(lines, expected, strict=True):
        assert re.fullmatch(pattern, line), line


async def test_a_vector_of_another_size_is_found(storage: Storage) -> None:
    number = storage.generation.number
    await storage.execute(f"ALTER TABLE face_embeddings_{number} DROP CONSTRAINT face_embeddings_{number}_size")
    await storage.execute("UPDATE face_embeddings SET embedding = '[1, 0]' WHERE photo_id = 'again'")
    assert await found(storage) == [
        f"photo 'again' of session 's': vector of face 0: {SPEC.vector_size} finite floats of L2 norm 1,"
        " not 2 floats of L2 norm 1"
    ]
