"""The counters of a session: kept by the same transaction that moves a photo from one state to another."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from facepass.schemas.ids import SessionId
from facepass.schemas.ledger import PhotoState
from facepass.storage.database import Connection
from facepass.storage.writes.locked_rows import STATEMENTS, Key, Known
from facepass.storage.writes.rules import Row


@dataclass(slots=True)
class _Moves:
    """By how much one session's counters move."""

    revision: int
    states: Counter[PhotoState] = field(default_factory=Counter)
    photos: int = 0
    faces: int = 0
    last_indexed: datetime | None = None


async def write_ledgers(connection: Connection, generation: int, known: Known, written: Mapping[Key, Row]) -> None:
    """Move the counters and revisions of all sessions of `written` (their rows as they are now)."""
    moves = _moves(known, written)
    columns = {
        "generation": generation,
        "sessions": list(moves),
        "revisions": [move.revision for move in moves.values()],
        "photos": [move.photos for move in moves.values()],
        "faces": [move.faces for move in moves.values()],
        "last_indexed": [move.last_indexed for move in moves.values()],
        **{str(state): [move.states[state] for move in moves.values()] for state in PhotoState},
    }
    new = [session for session in moves if known.revisions[session] is None]
    if new:
        await connection.execute(STATEMENTS["add_ledgers"], {"generation": generation, "sessions": new})
    await connection.execute(STATEMENTS["write_ledgers"], columns)


def next_revision(known: Known, session_id: SessionId) -> int:
    return (known.revisions[session_id] or 0) + 1


def _moves(known: Known, written: Mapping[Key, Row]) -> dict[SessionId, _Moves]:
    moves: dict[SessionId, _Moves] = {}
    for key, after in written.items():
        before, session = known.rows[key], key[0]
        move = moves.setdefault(session, _Moves(revision=known.revisions[session] or 0))
        move.revision = max(move.revision, after.revision)
        for row, step in ((before, -1), (after, 1)):
            if row.state is not None:
                move.states[row.state] += step
            move.faces += step * row.faces_stored
            move.photos += step * (row.faces_stored > 0)
        if after.state is PhotoState.INDEXED:
            move.last_indexed = known.now
    return moves


def in_lock_order(keys: Iterable[Key]) -> list[Key]:
    """Code points sort as UTF-8 bytes do, which is how PostgreSQL's collation "C" compares."""
    return sorted(keys)
