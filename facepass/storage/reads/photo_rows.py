"""Photos as the tables have them: what the events said of each, and what the generation made of it."""

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from typing import Any, NamedTuple

from psycopg.rows import kwargs_row
from psycopg.sql import SQL

from facepass.schemas.faces import Box, LeftOutFace, LeftOutReason
from facepass.schemas.ids import PhotoId, SessionId
from facepass.schemas.ledger import PhotoState
from facepass.storage.database import Connection
from facepass.storage.generations import Store
from facepass.storage.reads.session_rows import read_ledgers
from facepass.storage.statements import load_statements

_STATEMENTS = load_statements("photo_rows")

_COLUMNS = SQL(_STATEMENTS["columns"])


class PhotoRow(NamedTuple):
    """A photo, heard of or not.

    A tuple because a call for a batch reads 2,000 at once: as dataclasses they took twice as long to make.

    Attributes:
        session_known: whether anything was ever heard of its session.
        session_deleted_at, deleted_at: the fences; None: never deleted.
        s3_key: of its newest event; None: deleted, or never heard of.
        newest_event: when that happened; None: only its deletion was seen, or nothing.
        state: None: the generation has no row of it.
        occurred_at: of the event that the state rests on; None without a state, or if only its deletion was seen.
        revision: of the session when its faces last changed; 0: never.
        faces_stored: those of an older event while it is pending.
        faces_detected: with those that the quality gate left out.
        confidence: of the most confident face; None: there is none.
        error: code of the last failure, perhaps one of another version; None if nothing failed.
        attempts: of the event that the state rests on.
        next_attempt_at: when the sweep takes it up; None unless it is pending.
        record: that a pending or failed photo rests on, as topic[partition]@offset.
    """

    photo_id: PhotoId
    session_known: bool
    session_deleted_at: datetime | None
    deleted_at: datetime | None
    s3_key: str | None
    newest_event: datetime | None
    state: PhotoState | None
    occurred_at: datetime | None
    revision: int
    faces_stored: int
    faces_detected: int
    confidence: float | None
    left_out: tuple[LeftOutFace, ...]
    error: str | None
    attempts: int
    next_attempt_at: datetime | None
    record: str | None

    @property
    def known(self) -> bool:
        """True if anything was ever heard of the photo."""
        return self.state is not None or self.deleted_at is not None or self.newest_event is not None

    def fenced(self, occurred_at: datetime) -> bool:
        """True if a deletion, of the photo or its session, covers an event of that time."""
        fences = self.deleted_at, self.session_deleted_at
        return any(fence is not None and fence >= occurred_at for fence in fences)


async def read_photos(
    store: Store, session_id: SessionId, photo_ids: Iterable[PhotoId]
) -> dict[PhotoId, PhotoRow]:
    """The rows of some photos of a session, heard of or not; one statement.

    Raises: as `Database.transaction`.
    """
    values = {"session": session_id, "photos": list(photo_ids)}
    async with store.database.transaction() as connection:
        rows = await select_photos(connection, store, "some", values)
    return {row.photo_id: row for row in rows}


async def list_photos(
    store: Store,
    session_id: SessionId,
    *,
    states: Collection[PhotoState] = (),
    after: PhotoId | None = None,
    limit: int,
) -> list[PhotoRow] | None:
    """The session's photos, at most `limit`, in the order of their ids' bytes; deleted ones too.

    Args:
        states: only photos in one of these; all of them if there is none.
        after: only photos behind this id, which need not be there.

    Returns: None if nothing was ever heard of the session.

    Raises: as `Database.transaction`.
    """
    values = {"session": session_id, "states": list(states), "after": after or "", "limit": limit}
    async with store.database.transaction(snapshot=True) as connection:
        rows = await select_photos(connection, store, "listed", values)
        ledgers = await read_ledgers(connection, store.generation, [session_id])
    return rows if ledgers[session_id].known else None


async def read_unfinished(store: Store, session_id: SessionId, *, limit: int) -> list[PhotoRow]:
    """Photos of the session that failed or are pending, failed ones first, at most `limit`.

    Raises: as `Database.transaction`.
    """
    async with store.database.transaction() as connection:
        return await select_photos(connection, store, "unfinished", {"session": session_id, "limit": limit})


async def select_photos(
    connection: Connection, store: Store, statement: str, values: Mapping[str, object]
) -> list[PhotoRow]:
    """The photos that a statement of photo_rows.sql selects, in the caller's transaction."""
    # psycopg calls `_row` with each row's columns by name.
    cursor = connection.cursor(binary=True, row_factory=kwargs_row(_row))
    select = SQL(_STATEMENTS[statement]).format(columns=_COLUMNS)
    await cursor.execute(select, {"generation": store.generation.number, **values})
    return await cursor.fetchall()


def _row(**columns: Any) -> PhotoRow:
    if columns["state"] is not None:
        columns["state"] = PhotoState(columns["state"])
    columns["left_out"] = tuple(map(_left_out_face, columns["left_out"] or ()))
    return PhotoRow(**columns)


def _left_out_face(face: dict[str, Any]) -> LeftOutFace:
    """The left-out face, as `writes` stores it."""
    x, y, width, height = face["box"]
    return LeftOutFace(
        box=Box(x=x, y=y, width=width, height=height),
        confidence=face["confidence"],
        reason=LeftOutReason(face["reason"]),
    )
