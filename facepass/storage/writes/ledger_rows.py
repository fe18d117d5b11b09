"""The write doors' common part: locking sessions, reading what the ledger says of photos, moving its counters."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from facepass.schemas.errors import ErrorCode
from facepass.schemas.ids import UPLOADS_PREFIX, PhotoId, SessionId
from facepass.schemas.ledger import PhotoState
from facepass.storage.database import Connection
from facepass.storage.statements import load_statements
from facepass.storage.writes.photo_rules import LedgerRow

STATEMENTS = load_statements("writes")

Key = tuple[SessionId, PhotoId]


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerRows:
    """The ledger's word on some photos and their sessions.

    Attributes:
        photos: by photo.
        uploads: keys of those photos that FacePass itself put into the photo store.
        revisions: of each session; None where the ledger has no row of it.
        now: the database's time.
    """

    photos: dict[Key, LedgerRow]
    uploads: Mapping[Key, str]
    revisions: Mapping[SessionId, int | None]
    now: datetime


async def lock_sessions(connection: Connection, sessions: Iterable[SessionId]) -> None:
    """Lock the rows of `sessions` to the end of the transaction, adding missing ones.

    Must come before anything else in a transaction that writes: revisions then commit in order, and no two
    transactions can deadlock.
    """
    wanted = {"sessions": sorted(set(sessions))}
    await connection.execute(STATEMENTS["add_sessions"], wanted)
    await connection.execute(STATEMENTS["lock_sessions"], wanted)


async def read_rows(connection: Connection, generation: int, photos: Iterable[Key]) -> LedgerRows:
    """The ledger's word on some photos, of which there is at least one; each may be named more than once."""
    keys = list(dict.fromkeys(photos))
    sessions, photo_ids = zip(*keys, strict=True)
    cursor = await connection.execute(
        STATEMENTS["read_rows"],
        {
            "generation": generation,
            "sessions": list(sessions),
            "photos": list(photo_ids),
            "uploads": UPLOADS_PREFIX,
        },
        binary=True,
    )
    rows = await cursor.fetchall()
    return LedgerRows(
        photos={key: _photo_row(row) for key, row in zip(keys, rows, strict=True)},
        uploads={key: row[12] for key, row in zip(keys, rows, strict=True) if row[12] is not None},
        revisions={session: row[10] for session, row in zip(sessions, rows, strict=True)},
        now=rows[0][11],
    )


def _photo_row(row: Sequence[Any]) -> LedgerRow:
    if row[0] is None:
        return LedgerRow(fence=row[9])
    return LedgerRow(
        state=PhotoState(row[0]),
        occurred_at=row[1],
        revision=row[2],
        faces_stored=row[3],
        faces_detected=row[4],
        confidence=row[5],
        error=None if row[6] is None else ErrorCode(row[6]),
        attempts=row[7],
        first_failed_at=row[8],
        fence=row[9],
    )


@dataclass(slots=True)
class _Moves:
    """The amounts by which one session's counters move."""

    revision: int
    states: Counter[PhotoState] = field(default_factory=Counter)
    photos: int = 0
    faces: int = 0
    last_indexed: datetime | None = None


async def write_counters(
    connection: Connection, generation: int, before: LedgerRows, after: Mapping[Key, LedgerRow]
) -> None:
    """Move the counters and revisions of all sessions of `after`: the photos that change, with their new rows."""
    moves = _moves(before, after)
    columns = {
        "generation": generation,
        "sessions": list(moves),
        "revisions": [move.revision for move in moves.values()],
        "photos": [move.photos for move in moves.values()],
        "faces": [move.faces for move in moves.values()],
        "last_indexed": [move.last_indexed for move in moves.values()],
        **{str(state): [move.states[state] for move in moves.values()] for state in PhotoState},
    }
    new = [session for session in moves if before.revisions[session] is None]
    if new:
        await connection.execute(STATEMENTS["add_ledgers"], {"generation": generation, "sessions": new})
    await connection.execute(STATEMENTS["write_ledgers"], columns)


def _moves(before: LedgerRows, after: Mapping[Key, LedgerRow]) -> dict[SessionId, _Moves]:
    moves: dict[SessionId, _Moves] = {}
    for key, new in after.items():
        session = key[0]
        move = moves.setdefault(session, _Moves(revision=before.revisions[session] or 0))
        move.revision = max(move.revision, new.revision)
        for row, step in ((before.photos[key], -1), (new, 1)):
            if row.state is not None:
                move.states[row.state] += step
            move.faces += step * row.faces_stored
            move.photos += step * (row.faces_stored > 0)
        if new.state is PhotoState.INDEXED:
            move.last_indexed = before.now
    return moves
