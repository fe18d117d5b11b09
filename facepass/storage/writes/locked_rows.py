"""The first steps of every write door: lock the sessions, then read what the ledger says of the photos."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from facepass.schemas.errors import ErrorCode
from facepass.schemas.ids import UPLOADS_PREFIX, PhotoId, SessionId
from facepass.schemas.ledger import PhotoEvent, PhotoState
from facepass.storage.database import Connection
from facepass.storage.statements import load_statements
from facepass.storage.writes.rules import Row

STATEMENTS = load_statements("writes")

Key = tuple[SessionId, PhotoId]


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What the database knows of some photos.

    Attributes:
        rows: by photo.
        uploads: keys of those photos that FacePass itself put into the photo store.
        revisions: of each session; None where the ledger has no row of it.
        now: the database's time.
    """

    rows: dict[Key, Row]
    uploads: Mapping[Key, str]
    revisions: Mapping[SessionId, int | None]
    now: datetime


def key_of(event: PhotoEvent) -> Key:
    return event.session_id, event.photo_id


async def lock_sessions(connection: Connection, sessions: Iterable[SessionId]) -> None:
    """Lock the rows of `sessions` to the end of the transaction, adding missing ones.

    Must come before anything else in a transaction that writes: revisions then commit in order, and no two
    transactions can deadlock.
    """
    wanted = {"sessions": sorted(set(sessions))}
    await connection.execute(STATEMENTS["add_sessions"], wanted)
    await connection.execute(STATEMENTS["lock_sessions"], wanted)


async def read_rows(connection: Connection, generation: int, events: Sequence[PhotoEvent]) -> Known:
    """What the database knows of the photos of `events`, of which there is at least one."""
    keys = list(dict.fromkeys(map(key_of, events)))
    sessions, photos = zip(*keys, strict=True)
    cursor = await connection.execute(
        STATEMENTS["read_rows"],
        {
            "generation": generation,
            "sessions": list(sessions),
            "photos": list(photos),
            "uploads": UPLOADS_PREFIX,
        },
        binary=True,
    )
    records = await cursor.fetchall()
    return Known(
        rows={key: _row(record) for key, record in zip(keys, records, strict=True)},
        uploads={key: record[12] for key, record in zip(keys, records, strict=True) if record[12] is not None},
        revisions={session: record[10] for session, record in zip(sessions, records, strict=True)},
        now=records[0][11],
    )


def _row(record: Sequence[Any]) -> Row:
    if record[0] is None:
        return Row(fence=record[9])
    return Row(
        state=PhotoState(record[0]),
        occurred_at=record[1],
        revision=record[2],
        faces_stored=record[3],
        faces_detected=record[4],
        confidence=record[5],
        error=None if record[6] is None else ErrorCode(record[6]),
        attempts=record[7],
        first_failed_at=record[8],
        fence=record[9],
    )
