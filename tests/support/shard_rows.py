"""For tests of shards: faces through the write door, what PostgreSQL itself would answer, and a database away."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

import numpy as np
import psycopg
from numpy.typing import NDArray
from psycopg import sql
from support.ledger import Storage, face, outcome, photo_event

from facepass.schemas.errors import TransientError
from facepass.schemas.settings import DatabaseSettings
from facepass.schemas.similarity import cosine_from_similarity
from facepass.storage.writes import save_photos

_EXACT = """
SELECT photo_id, cosine, confidence, box_x FROM (
    SELECT DISTINCT ON (photo_id) photo_id, cosine, confidence, box_x FROM (
        SELECT *, least(1.0, greatest(-1.0, -(embedding::vector <#> %(vector)s::vector))) AS cosine
        FROM face_embeddings WHERE generation = %(generation)s AND session_id = %(session)s
    ) AS faces
    ORDER BY photo_id, cosine DESC, face_index
) AS best
WHERE cosine >= %(least)s
ORDER BY cosine DESC, photo_id
"""

ExactRow = tuple[str, float, float, float]


async def index(
    storage: Storage, session: str, photo: str, vectors: NDArray[np.float32], *, seconds: float = 0
) -> int:
    """Store a photo's faces through the write door; the session's revision after it."""
    faces = [face(vector, 0.5 + 0.4 / (number + 1)) for number, vector in enumerate(vectors)]
    written = await save_photos(
        storage.store,
        [outcome(photo_event(session, photo, seconds), faces=faces)],
        retry_hours=24,
    )
    return written[0].update.revision


async def exact_matches(
    storage: Storage, session: str, query: NDArray[np.float32], threshold: float
) -> list[ExactRow]:
    """Photo, cosine, confidence and left edge of the box, best first, as pgvector computes them."""
    return [
        (row[0], row[1], row[2], row[3])
        for row in await storage.rows(
            _EXACT,
            vector="[" + ",".join(repr(float(value)) for value in query) + "]",
            generation=storage.generation.number,
            session=session,
            least=cosine_from_similarity(threshold, storage.generation.spec.operating_point),
        )
    ]


@contextmanager
def outage(settings: DatabaseSettings) -> Iterator[None]:
    """The database refuses everybody."""
    uri = settings.database.get_secret_value()
    name = str(psycopg.conninfo.conninfo_to_dict(uri)["dbname"])
    allow = sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS {}")
    with psycopg.connect(uri, dbname="postgres", autocommit=True) as connection:
        connection.execute(allow.format(sql.Identifier(name), sql.SQL("false")))
        connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,))
        try:
            yield
        finally:
            connection.execute(allow.format(sql.Identifier(name), sql.SQL("true")))


async def until_there(operation: Callable[[], Awaitable[None]]) -> None:
    """Try until the database is there again."""
    async with asyncio.timeout(60):
        while True:
            try:
                return await operation()
            except TransientError:
                await asyncio.sleep(0.1)
