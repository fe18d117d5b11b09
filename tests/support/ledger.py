"""Photo events, outcomes and an opened storage for tests; and a recount of the ledger from the rows themselves."""

import hashlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from facepass.schemas.errors import ErrorCode
from facepass.schemas.events import PhotoIndexed
from facepass.schemas.faces import Box, Face, GenerationSpec, LeftOutFace, LeftOutReason, PhotoFaces, Quality
from facepass.schemas.ids import PhotoId, SessionId
from facepass.schemas.ledger import Origin, PhotoState
from facepass.schemas.photo_events import PhotoEvent, PhotoOutcome
from facepass.schemas.settings import DatabaseSettings
from facepass.storage.database import Database, open_database
from facepass.storage.generations import Generation, Store, open_store

START = datetime(2026, 5, 9, 12, tzinfo=UTC)
SIZE = 8
"""Floats of an embedding: few, so that tests are fast."""

SPEC = GenerationSpec(
    pack="test", vector_size=SIZE, operating_point=0.36, fingerprint={"detector": "d", "recogniser": "r"}
)


@dataclass(frozen=True, slots=True)
class Storage:
    """A database with an active generation."""

    store: Store

    @property
    def db(self) -> Database:
        return self.store.database

    @property
    def generation(self) -> Generation:
        return self.store.generation

    async def rows(self, query: str, **values: object) -> list[tuple[Any, ...]]:
        async with self.db.transaction() as connection:
            return await (await connection.execute(query, values)).fetchall()

    async def execute(self, query: str, **values: object) -> None:
        async with self.db.transaction() as connection:
            await connection.execute(query, values)


@asynccontextmanager
async def open_storage(settings: DatabaseSettings, spec: GenerationSpec = SPEC) -> AsyncIterator[Storage]:
    async with open_database(settings) as db:
        yield Storage(await open_store(db, spec))


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def photo_event(
    session: str, photo: str, seconds: float = 0, *, given: bool = True, s3_key: str | None = None
) -> PhotoEvent:
    event = PhotoIndexed(
        session_id=SessionId(session),
        photo_id=PhotoId(photo),
        s3_key=s3_key or f"photos/{seconds}.jpg",
        occurred_at=at(seconds),
        occurred_at_given=given,
    )
    return PhotoEvent(event=event, origin=Origin(topic="photo-indexed", partition=3, offset=int(seconds) + 7))


def random_vector(seed: object, size: int = SIZE) -> np.ndarray:
    """A unit vector that depends on `seed` alone."""
    number = int.from_bytes(hashlib.sha256(repr(seed).encode()).digest()[:8], "big")
    vector = np.random.default_rng(number).normal(size=size).astype(np.float32)
    return (vector / np.linalg.norm(vector)).astype(np.float32)


def face(vector: np.ndarray, confidence: float = 0.9) -> Face:
    return Face(
        box=Box(x=1.5, y=-2.0, width=30.25, height=40.0),
        landmarks=np.arange(10, dtype=np.float32).reshape(5, 2),
        confidence=confidence,
        quality=Quality(size=30.25, sharpness=120.0, yaw=-10.0, pitch=5.0, roll=1.0),
        embedding=vector,
    )


LEFT_OUT = LeftOutFace(
    box=Box(x=0.0, y=0.0, width=12.0, height=14.0), confidence=0.95, reason=LeftOutReason.BLURRED
)


def outcome(
    photo: PhotoEvent,
    state: PhotoState = PhotoState.INDEXED,
    *,
    faces: int | Sequence[Face] = 1,
    error: ErrorCode | None = None,
) -> PhotoOutcome:
    """What became of `photo`. With a number of faces, their vectors depend on the event alone."""
    event, found = photo.event, None
    if state is PhotoState.INDEXED:
        if isinstance(faces, int):
            faces = [
                face(random_vector((event.session_id, event.photo_id, event.occurred_at, n))) for n in range(faces)
            ]
        found = PhotoFaces(width=640, height=480, faces=tuple(faces), left_out=(LEFT_OUT,))
    elif state is PhotoState.NO_FACE:
        found = PhotoFaces(width=640, height=480, faces=(), left_out=())
    elif state is PhotoState.FILTERED:
        found = PhotoFaces(width=640, height=480, faces=(), left_out=(LEFT_OUT,))
    elif error is None:
        error = ErrorCode.STORE_UNAVAILABLE if state is PhotoState.PENDING else ErrorCode.DAMAGED_IMAGE
    return PhotoOutcome(photo=photo, state=state, found=found, error=error, etag=f"etag-{event.occurred_at}")


_RECOUNT = """
SELECT
    r.generation, r.session_id,
    count(*) FILTER (WHERE state = 'pending'), count(*) FILTER (WHERE state = 'indexed'),
    count(*) FILTER (WHERE state = 'no_face'), count(*) FILTER (WHERE state = 'filtered'),
    count(*) FILTER (WHERE state = 'failed'), count(*) FILTER (WHERE state = 'deleted'),
    count(*) FILTER (WHERE coalesce(f.faces, 0) > 0), coalesce(sum(f.faces), 0)::integer,
    bool_and(r.faces_stored = coalesce(f.faces, 0)), count(p.photo_id) = count(*)
FROM photo_results AS r
LEFT JOIN photos AS p USING (session_id, photo_id)
LEFT JOIN (
    SELECT generation, session_id, photo_id, count(*) AS faces FROM face_embeddings GROUP BY 1, 2, 3
) AS f USING (generation, session_id, photo_id)
GROUP BY 1, 2
"""
_STRAYS = """
SELECT
    (SELECT count(*) FROM photos WHERE (session_id, photo_id)
        NOT IN (SELECT session_id, photo_id FROM photo_results)),
    (SELECT count(*) FROM face_embeddings WHERE (generation, session_id, photo_id)
        NOT IN (SELECT generation, session_id, photo_id FROM photo_results))
"""
_COUNTERS = """
SELECT generation, session_id, pending, indexed, no_face, filtered, failed, deleted, photo_count, face_count
FROM session_generations
"""


async def assert_ledger_is_exact(storage: Storage) -> None:
    """Every counter equals a recount; every photo that was ever seen is in exactly one state."""
    async with storage.db.transaction() as connection:
        recount = {row[:2]: row[2:] for row in await (await connection.execute(_RECOUNT)).fetchall()}
        counters = {row[:2]: row[2:] for row in await (await connection.execute(_COUNTERS)).fetchall()}
        strays = await (await connection.execute(_STRAYS)).fetchone()
    for key, row in recount.items():
        assert row[8:] == (True, True), f"{key}: faces_stored or a photo's row is wrong"
        assert counters[key] == row[:8], key
    for key, row in counters.items():
        assert key in recount or not any(row), key
    assert strays == (0, 0), "photos in no state, faces of no photo"


TABLES = ("sessions", "photos", "session_generations", "photo_results", "face_embeddings")


async def all_rows(storage: Storage) -> dict[str, list[str]]:
    """Every row of every table that events change, as text."""
    query = " UNION ALL ".join(f"SELECT '{table}', t::text FROM {table} AS t" for table in TABLES)
    found: dict[str, list[str]] = {table: [] for table in TABLES}
    for table, row in await storage.rows(f"{query} ORDER BY 1, 2"):
        found[table].append(row)
    return found
