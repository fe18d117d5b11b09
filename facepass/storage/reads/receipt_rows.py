"""The traces of deletions: the newest event that one must cover, and the receipt of one that was applied."""

from dataclasses import dataclass
from datetime import datetime

from psycopg.rows import class_row, scalar_row

from facepass.schemas.ids import PhotoId, SessionId
from facepass.storage.database import Database
from facepass.storage.statements import load_statements

_STATEMENTS = load_statements("receipt_rows")


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiptRow:
    """A deletion that was applied. `photos_removed`, `faces_removed`: 0 if another one had come first."""

    photos_removed: int
    faces_removed: int
    applied_at: datetime


async def read_newest_event(db: Database, session_id: SessionId, photo_id: PhotoId | None) -> datetime | None:
    """The time of the newest event of a session, or of one of its photos; None if nothing was heard of it.

    Raises: as `Database.transaction`.
    """
    values = {"session": session_id, "photo": photo_id}
    async with db.transaction() as connection:
        cursor = connection.cursor(row_factory=scalar_row)
        newest: datetime | None = await (await cursor.execute(_STATEMENTS["newest_event"], values)).fetchone()
    return newest


async def read_receipt(
    db: Database, session_id: SessionId, photo_id: PhotoId | None, fence: datetime
) -> ReceiptRow | None:
    """The receipt of a session's or photo's deletion up to `fence`; None if no fence stands that covers it.

    Raises: as `Database.transaction`.
    """
    values = {"session": session_id, "photo": photo_id, "fence": fence}
    async with db.transaction() as connection:
        cursor = connection.cursor(row_factory=class_row(ReceiptRow))
        return await (await cursor.execute(_STATEMENTS["receipt"], values)).fetchone()
