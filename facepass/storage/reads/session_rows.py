"""Sessions as the tables have them: each one's row of the ledger, and what was announced of it."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from psycopg.rows import class_row, scalar_row
from psycopg.sql import SQL

from facepass.schemas.ids import SessionId
from facepass.schemas.ledger import SessionCounts
from facepass.storage.database import Connection, Database
from facepass.storage.generations import Generation, Store
from facepass.storage.statements import load_statements

_STATEMENTS = load_statements("session_rows")

_LEDGER = SQL(_STATEMENTS["ledger"])
_LEDGERS = SQL(_STATEMENTS["ledgers"]).format(ledger=_LEDGER)
_SESSION = SQL(_STATEMENTS["session"]).format(ledger=_LEDGER)


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionRow(SessionCounts):
    """A session's row of the ledger, and what was announced of it.

    Attributes:
        name, studio_id: a deletion erases them.
        deleted_at: the fence; None: never deleted.
    """

    name: str | None
    studio_id: str | None
    deleted_at: datetime | None


async def read_session(store: Store, session_id: SessionId) -> SessionRow:
    """The session; all zeros and `known` false if nothing was ever heard of it.

    Raises: as `Database.transaction`.
    """
    values = {"generation": store.generation.number, "session": session_id}
    async with store.database.transaction() as connection:
        cursor = connection.cursor(row_factory=class_row(SessionRow))
        row = await (await cursor.execute(_SESSION, values)).fetchone()
    assert row is not None  # noqa: S101 - one row, whatever is known
    return row


async def read_counts(store: Store, session_id: SessionId) -> SessionCounts:
    """The session's row of the ledger; all zeros and `known` false if nothing was ever heard of it.

    Raises: as `Database.transaction`.
    """
    async with store.database.transaction() as connection:
        return (await read_ledgers(connection, store.generation, [session_id]))[session_id]


async def read_ledgers(
    connection: Connection, generation: Generation, sessions: Collection[SessionId]
) -> dict[SessionId, SessionCounts]:
    """The ledger's rows of several sessions, in the caller's transaction.

    Raises: as `Database.transaction`.
    """
    values = {"generation": generation.number, "sessions": list(sessions)}
    cursor = connection.cursor(row_factory=class_row(SessionCounts))
    rows = await (await cursor.execute(_LEDGERS, values)).fetchall()
    return {row.session_id: row for row in rows}


async def is_session_known(db: Database, session_id: SessionId) -> bool:
    """True if anything was ever heard of the session.

    Raises: as `Database.transaction`.
    """
    async with db.transaction() as connection:
        cursor = connection.cursor(row_factory=scalar_row)
        return bool(await (await cursor.execute(_STATEMENTS["known"], {"session": session_id})).fetchone())
