"""What an operator asks about one session: what was announced, what failed and why, what a deletion left."""

from dataclasses import dataclass
from datetime import datetime

from facepass.schemas.ids import PhotoId, SessionId
from facepass.schemas.ledger import Origin, PhotoState
from facepass.storage.database import Database
from facepass.storage.generations import Store
from facepass.storage.statements import load_statements

_STATEMENTS = load_statements("session_reports")


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionFacts:
    """What the database knows of a session apart from its counters.

    Attributes:
        updated_at: of the newest announcement; None: never announced.
        deleted_at: the fence; None: never deleted.
        newest_event: the newest `occurred_at` that any of its rows rests on.
    """

    name: str | None
    studio_id: str | None
    facepass_enabled: bool | None
    updated_at: datetime | None
    deleted_at: datetime | None
    newest_event: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PhotoFacts:
    """What the database knows of one photo: its fence, its newest event, its stored faces."""

    deleted_at: datetime | None
    newest_event: datetime | None
    face_count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class UnfinishedPhoto:
    """A photo that failed, or waits still.

    Attributes:
        error: code of the last failure; None if nothing failed yet.
        next_attempt_at: when the sweep takes a pending photo up; None for a failed one.
        origin: the record that its row rests on.
    """

    photo_id: PhotoId
    state: PhotoState
    error: str | None
    attempts: int
    occurred_at: datetime
    next_attempt_at: datetime | None
    origin: Origin


async def read_session(db: Database, session_id: SessionId) -> SessionFacts | None:
    """The session's facts; None if nothing was ever heard of it.

    Raises: as `Database.transaction`.
    """
    async with db.transaction() as connection:
        row = await (await connection.execute(_STATEMENTS["session"], {"session": session_id})).fetchone()
    if row is None:
        return None
    name, studio_id, enabled, updated_at, deleted_at, newest = row
    return SessionFacts(
        name=name,
        studio_id=studio_id,
        facepass_enabled=enabled,
        updated_at=updated_at,
        deleted_at=deleted_at,
        newest_event=newest,
    )


async def read_photo(store: Store, session_id: SessionId, photo_id: PhotoId) -> PhotoFacts | None:
    """One photo's facts; None if nothing was ever heard of it.

    Raises: as `Database.transaction`.
    """
    values = {"generation": store.generation.number, "session": session_id, "photo": photo_id}
    async with store.database.transaction() as connection:
        row = await (await connection.execute(_STATEMENTS["photo"], values)).fetchone()
    if row is None:
        return None
    return PhotoFacts(deleted_at=row[0], newest_event=row[1], face_count=row[2])


async def read_unfinished(store: Store, session_id: SessionId, *, limit: int) -> list[UnfinishedPhoto]:
    """Photos of the session that failed or are pending, failed ones first, at most `limit`.

    Raises: as `Database.transaction`.
    """
    values = {"generation": store.generation.number, "session": session_id, "limit": limit}
    async with store.database.transaction() as connection:
        rows = await (await connection.execute(_STATEMENTS["unfinished"], values)).fetchall()
    return [
        UnfinishedPhoto(
            photo_id=PhotoId(photo_id),
            state=PhotoState(state),
            error=error,
            attempts=attempts,
            occurred_at=occurred_at,
            next_attempt_at=next_attempt_at,
            origin=Origin(topic=topic, partition=partition, offset=offset),
        )
        for photo_id, state, error, attempts, occurred_at, next_attempt_at, topic, partition, offset in rows
    ]
