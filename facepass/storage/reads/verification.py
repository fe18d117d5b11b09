"""Comparing what the tables say with each other and with the topics; the database's side of a shard's digest.

Every function reads one snapshot, so what it finds was so at one moment: the write doors leave nothing in between.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from functools import partial

from psycopg.rows import class_row, kwargs_row, scalar_row

from facepass.schemas.events import PhotoDeleted, PhotoIndexed, SessionDeleted
from facepass.schemas.http.control_bodies import ShardContents
from facepass.schemas.ids import SessionId
from facepass.storage.database import Database
from facepass.storage.generations import Store
from facepass.storage.reads.differences import Compared, Difference
from facepass.storage.statements import load_statements

_STATEMENTS = load_statements("verify")

_NORM_TOLERANCE = 1e-3
"""Of a stored vector's L2 norm; half precision alone stays well below."""

_INDEX_AGAIN = "publish the photo's photo-indexed event again with a later occurred_at"
_REBUILD = "`facepass sessions delete` the session, then publish its photos again with a later occurred_at"
_DELETE_AGAIN = "publish the deletion again; it removes what its fence covers"

_REMEDIES = {
    "counters": f"no event mends a counter: restore a backup, or {_REBUILD}",
    "photos": f"a row that is wanted: {_INDEX_AGAIN}; one that is not: {_DELETE_AGAIN}",
    "faces": f"no event is lost: {_INDEX_AGAIN}",
    "fenced_faces": _DELETE_AGAIN,
    "vectors": _INDEX_AGAIN,
    "strays": f"no write door leaves this: restore a backup, or {_REBUILD}",
}
"""The statements that compare tables, each with what to do about what it finds."""


async def count_sessions(db: Database) -> int:
    """The number of sessions that were ever heard of.

    Raises: as `Database.transaction`.
    """
    async with db.transaction(snapshot=True) as connection:
        cursor = connection.cursor(row_factory=scalar_row)
        return await (await cursor.execute(_STATEMENTS["totals"])).fetchone() or 0


async def list_sessions(db: Database, after: str, limit: int) -> list[SessionId]:
    """The session ids, at most `limit`, in order, after `after` (empty: from the first on).

    Raises: as `Database.transaction`.
    """
    async with db.transaction(snapshot=True) as connection:
        cursor = connection.cursor(row_factory=scalar_row)
        return await (await cursor.execute(_STATEMENTS["sessions"], {"after": after, "limit": limit})).fetchall()


async def compare_tables(store: Store, sessions: Sequence[SessionId]) -> list[Difference]:
    """Recount some sessions: counters, photos, faces, stamps, fences and vectors, in one snapshot.

    Raises: as `Database.transaction`.
    """
    return await _compare(store, sessions, [name for name in _REMEDIES if name != "strays"])


async def find_strays(store: Store) -> list[Difference]:
    """Rows of sessions that are not in the table of sessions: nothing else would ever look at them.

    Raises: as `Database.transaction`.
    """
    return await _compare(store, [], ["strays"])


async def _compare(store: Store, sessions: Sequence[SessionId], statements: Sequence[str]) -> list[Difference]:
    values = {
        "generation": store.generation.number,
        "sessions": list(sessions),
        "size": store.generation.spec.vector_size,
        "tolerance": _NORM_TOLERANCE,
    }
    found: list[Difference] = []
    async with store.database.transaction(snapshot=True) as connection:
        for name in statements:
            # psycopg calls `_difference` with each row's columns by name.
            cursor = connection.cursor(row_factory=kwargs_row(partial(_difference, remedy=_REMEDIES[name])))
            found += await (await cursor.execute(_STATEMENTS[name], values)).fetchall()
    return found


def _difference(
    *, session_id: str, photo_id: str | None, what: str, expected: str | None, found: str | None, remedy: str
) -> Difference:
    return Difference(
        compared=Compared.LEDGER,
        where=place(session_id, photo_id),
        what=what,
        expected=expected or "none",
        found=found or "none",
        remedy=remedy,
    )


def place(session: str, photo: str | None = None) -> str:
    """A session or one of its photos in words; ids are quoted, since they may hold anything."""
    return f"session {session!r}" if photo is None else f"photo {photo!r} of session {session!r}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Unaccounted:
    """An event that the tables do not show.

    Attributes:
        index: its place among those asked for.
        occurred_at: what the photo's row rests on; None without a row.
        fence: the fence that is there; None without one.
    """

    index: int
    occurred_at: datetime | None = None
    fence: datetime | None


async def unaccounted_photos(store: Store, events: Sequence[PhotoIndexed]) -> list[Unaccounted]:
    """The ones of `events` that neither a row of the ledger nor a fence accounts for.

    Raises: as `Database.transaction`.
    """
    values = {
        "generation": store.generation.number,
        "sessions": [event.session_id for event in events],
        "photos": [event.photo_id for event in events],
        "times": [event.occurred_at for event in events],
        "given": [event.occurred_at_given for event in events],
    }
    async with store.database.transaction(snapshot=True) as connection:
        cursor = connection.cursor(row_factory=class_row(Unaccounted))
        return await (await cursor.execute(_STATEMENTS["unaccounted_photos"], values)).fetchall()


async def unfenced_deletions(
    db: Database, deletions: Sequence[PhotoDeleted | SessionDeleted]
) -> list[Unaccounted]:
    """The ones of `deletions` whose fence is missing or earlier.

    Raises: as `Database.transaction`.
    """
    values = {
        "sessions": [event.session_id for event in deletions],
        "photos": [event.photo_id if isinstance(event, PhotoDeleted) else None for event in deletions],
        "times": [event.occurred_at for event in deletions],
    }
    async with db.transaction(snapshot=True) as connection:
        cursor = connection.cursor(row_factory=class_row(Unaccounted))
        return await (await cursor.execute(_STATEMENTS["unfenced"], values)).fetchall()


async def read_contents(store: Store, session_id: SessionId) -> ShardContents:
    """The contents due in the session's shard, hashed inside PostgreSQL; revision 0 and nothing if it is unknown.

    Raises: as `Database.transaction`.
    """
    values = {"generation": store.generation.number, "session": session_id}
    async with store.database.transaction(snapshot=True) as connection:
        # psycopg calls `_contents` with the row's columns by name.
        cursor = connection.cursor(row_factory=kwargs_row(partial(_contents, session_id)))
        contents = await (await cursor.execute(_STATEMENTS["contents"], values)).fetchone()
    assert contents is not None  # noqa: S101 - an aggregate gives one row
    return contents


def _contents(
    session_id: SessionId, *, revision: int, faces: int, photos: int, first_sum: Decimal, second_sum: Decimal
) -> ShardContents:
    digest = digest_text(int(first_sum), int(second_sum))
    return ShardContents(session_id=session_id, revision=revision, faces=faces, photos=photos, digest=digest)


def digest_text(first: int, second: int) -> str:
    """The digest of two sums, which may be larger than 64 bits or negative."""
    return f"{first % 2**64:016x}{second % 2**64:016x}"
