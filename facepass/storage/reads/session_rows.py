"""What callers of the HTTP API ask about one session: what it is, and its photos page by page."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from facepass.schemas.faces import Box, LeftOutFace, LeftOutReason
from facepass.schemas.ids import PhotoId, SessionId
from facepass.schemas.ledger import PhotoState, SessionCounts
from facepass.storage.generations import Store
from facepass.storage.statements import load_statements

_STATEMENTS = load_statements("session_lookup")


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """What was announced of a session, and its row of the ledger; name and studio go with a deletion."""

    name: str | None
    studio_id: str | None
    counts: SessionCounts


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedPhoto:
    """One photo as the ledger has it.

    Attributes:
        error: code of the last failure; None if there was none.
        next_attempt_at: when the sweep takes it up; None unless it is pending.
        faces: stored ones; those of an older event while it is pending.
        occurred_at: None: only its deletion was seen.
        s3_key: None: deleted.
    """

    photo_id: PhotoId
    state: PhotoState
    error: str | None
    attempts: int
    next_attempt_at: datetime | None
    faces: int
    faces_detected: int
    left_out: tuple[LeftOutFace, ...]
    occurred_at: datetime | None
    s3_key: str | None


async def look_up_session(store: Store, session_id: SessionId) -> Session:
    """The session; zeros and `known` false in its counts if nothing was ever heard of it.

    Raises: as `Database.transaction`.
    """
    values = {"generation": store.generation.number, "session": session_id}
    async with store.database.transaction() as connection:
        row = await (await connection.execute(_STATEMENTS["session"], values)).fetchone()
    (
        name,
        studio_id,
        enabled,
        revision,
        pending,
        indexed,
        no_face,
        filtered,
        failed,
        deleted,
        photos,
        faces,
        last,
    ) = row or (None, None, None, *(0,) * 9, None)
    counts = SessionCounts(
        session_id=session_id,
        known=row is not None,
        facepass_enabled=enabled,
        revision=revision,
        pending=pending,
        indexed=indexed,
        no_face=no_face,
        filtered=filtered,
        failed=failed,
        deleted=deleted,
        photo_count=photos,
        face_count=faces,
        last_indexed=last,
    )
    return Session(name=name, studio_id=studio_id, counts=counts)


async def list_photos(
    store: Store,
    session_id: SessionId,
    *,
    states: Collection[PhotoState] = (),
    after: PhotoId | None = None,
    limit: int,
) -> Sequence[ListedPhoto] | None:
    """At most `limit` of the session's photos, in the order of their ids' bytes; deleted ones too.

    Args:
        states: only photos in one of these; all of them if there is none.
        after: only photos behind this id, which need not be there.

    Returns: None if nothing was ever heard of the session.

    Raises: as `Database.transaction`.
    """
    values = {
        "generation": store.generation.number,
        "session": session_id,
        "states": list(states),
        "after": after or "",
        "limit": limit,
    }
    async with store.database.transaction(snapshot=True) as connection:
        known = await (await connection.execute(_STATEMENTS["known"], values)).fetchone()
        if known is None or not known[0]:
            return None
        rows = await (await connection.execute(_STATEMENTS["photos"], values)).fetchall()
    return [_listed(row) for row in rows]


def _listed(row: Sequence[Any]) -> ListedPhoto:
    photo_id, state, error, attempts, next_attempt_at, faces, detected, left_out, occurred_at, s3_key = row
    return ListedPhoto(
        photo_id=photo_id,
        state=PhotoState(state),
        error=error,
        attempts=attempts,
        next_attempt_at=next_attempt_at,
        faces=faces,
        faces_detected=detected,
        left_out=tuple(map(left_out_face, left_out or ())),
        occurred_at=occurred_at,
        s3_key=s3_key,
    )


def left_out_face(face: dict[str, Any]) -> LeftOutFace:
    x, y, width, height = face["box"]
    return LeftOutFace(
        box=Box(x=x, y=y, width=width, height=height),
        confidence=face["confidence"],
        reason=LeftOutReason(face["reason"]),
    )
