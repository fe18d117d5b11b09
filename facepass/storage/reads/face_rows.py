"""One photo as PostgreSQL has it, for whoever asks why a selfie finds it or not."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np

from facepass.schemas.faces import Box, Embedding, LeftOutFace, Quality
from facepass.schemas.ids import PhotoId, SessionId
from facepass.schemas.ledger import PhotoState
from facepass.storage.generations import Store
from facepass.storage.reads.session_lookup import left_out_face
from facepass.storage.statements import load_statements

_STATEMENTS = load_statements("explain")


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredFace:
    """A face that counts, as stored. `embedding` in the precision of the database, L2 norm 1 within 1e-3."""

    index: int
    box: Box
    confidence: float
    quality: Quality
    embedding: Embedding


@dataclass(frozen=True, slots=True, kw_only=True)
class PhotoRecord:
    """What the database knows of one photo, at one moment.

    Attributes:
        known: whether anything was ever heard of the photo.
        session_deleted_at, deleted_at: the fences; None: never deleted.
        occurred_at: of its newest event; None: only its deletion was seen.
        state: None: deleted before it was ever indexed, or not known.
        error: code of its last failure; None if there was none.
        next_attempt_at: when the sweep takes it up; None unless it is pending.
        revision: of the session when its faces last changed; 0: never.
    """

    known: bool
    session_deleted_at: datetime | None
    deleted_at: datetime | None
    occurred_at: datetime | None
    state: PhotoState | None
    error: str | None
    attempts: int
    next_attempt_at: datetime | None
    revision: int
    left_out: tuple[LeftOutFace, ...]
    faces: tuple[StoredFace, ...]


async def read_photo_record(store: Store, session_id: SessionId, photo_id: PhotoId) -> PhotoRecord | None:
    """One photo with its faces; None if nothing was ever heard of the session.

    Raises: as `Database.transaction`.
    """
    values = {"generation": store.generation.number, "session": session_id, "photo": photo_id}
    async with store.database.transaction(snapshot=True) as connection:
        row = await (await connection.execute(_STATEMENTS["photo"], values)).fetchone()
        if row is None:
            return None
        faces = await (await connection.execute(_STATEMENTS["faces"], values, binary=True)).fetchall()
    session_deleted_at, deleted_at, occurred_at, state, error, attempts, next_attempt_at, revision, left_out = row
    return PhotoRecord(
        known=state is not None or deleted_at is not None or occurred_at is not None,
        session_deleted_at=session_deleted_at,
        deleted_at=deleted_at,
        occurred_at=occurred_at,
        state=state and PhotoState(state),
        error=error,
        attempts=attempts or 0,
        next_attempt_at=next_attempt_at,
        revision=revision or 0,
        left_out=tuple(map(left_out_face, left_out or ())),
        faces=tuple(map(_face, faces)),
    )


def _face(row: Sequence[Any]) -> StoredFace:
    index, x, y, width, height, confidence, size, sharpness, yaw, pitch, roll, embedding = row
    return StoredFace(
        index=index,
        box=Box(x=x, y=y, width=width, height=height),
        confidence=confidence,
        quality=Quality(size=size, sharpness=sharpness, yaw=yaw, pitch=pitch, roll=roll),
        embedding=np.array(embedding, np.float32),
    )
