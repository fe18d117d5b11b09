"""The stored faces of one photo beside its row, for whoever asks why a selfie finds it or not."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from psycopg.rows import kwargs_row

from facepass.schemas.faces import Box, Embedding, Quality
from facepass.schemas.ids import PhotoId, SessionId
from facepass.storage.generations import Store
from facepass.storage.reads.photo_rows import PhotoRow, select_photos
from facepass.storage.statements import load_statements

_STATEMENTS = load_statements("face_rows")


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredFace:
    """A face that counts, as stored. `embedding` in the precision of the database, L2 norm 1 within 1e-3."""

    index: int
    box: Box
    confidence: float
    quality: Quality
    embedding: Embedding


async def read_photo_with_faces(
    store: Store, session_id: SessionId, photo_id: PhotoId
) -> tuple[PhotoRow, list[StoredFace]]:
    """One photo, heard of or not, and its stored faces at the same moment.

    Raises: as `Database.transaction`.
    """
    values = {"generation": store.generation.number, "session": session_id, "photo": photo_id}
    async with store.database.transaction(snapshot=True) as connection:
        (photo,) = await select_photos(connection, store, "some", {"session": session_id, "photos": [photo_id]})
        # psycopg calls `_face` with each row's columns by name.
        cursor = connection.cursor(binary=True, row_factory=kwargs_row(_face))
        faces = await (await cursor.execute(_STATEMENTS["of_photo"], values)).fetchall()
    return photo, faces


def _face(*, index: int, confidence: float, embedding: list[float], **columns: Any) -> StoredFace:
    box, quality = (
        {name.removeprefix(prefix): value for name, value in columns.items() if name.startswith(prefix)}
        for prefix in ("box_", "quality_")
    )
    return StoredFace(
        index=index,
        box=Box(**box),
        confidence=confidence,
        quality=Quality(**quality),
        embedding=np.array(embedding, np.float32),
    )
