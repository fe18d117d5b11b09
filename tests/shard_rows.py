"""Faces as rows of their own, for tests of shards: what is stored, and what PostgreSQL itself would answer."""

import numpy as np
from ledger import Storage, face, outcome, photo_event
from numpy.typing import NDArray

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
        storage.db,
        storage.generation,
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
