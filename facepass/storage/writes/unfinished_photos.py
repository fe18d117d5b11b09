"""Taking up what was left: photos that are pending for too long, and dead letters that were never written.

A row and a Kafka record cannot be written at once. So the row of a photo that is given up goes first, with a mark:
its `first_failed_at` stands until the dead letter is written. Whoever dies in between leaves the mark, and the
letter is written later: at least once, but never not at all.
"""

from collections.abc import AsyncIterator, Sequence
from typing import Any

from facepass.schemas.errors import ErrorCode
from facepass.schemas.events import PhotoIndexed
from facepass.schemas.ids import SessionId
from facepass.schemas.ledger import Origin
from facepass.schemas.photo_events import PhotoEvent
from facepass.storage.database import Connection
from facepass.storage.generations import Store
from facepass.storage.writes.ledger_rows import STATEMENTS, lock_sessions

CLAIM_SECONDS = 600.0
"""How long a claimed photo is left to the process that claimed it: far longer than an attempt takes, and short
enough that a photo whose process died is not forgotten."""

_SESSIONS_AT_ONCE = 500
"""No index leads to owed dead letters: sessions with failures are looked through, so many in one go."""


async def claim_overdue(store: Store, limit: int) -> list[PhotoEvent]:
    """Claim the `limit` pending photos that are longest overdue, in no order, by their stored key.

    What comes of them goes through `save_photos`, which also ends a photo as failed once it has been tried for too
    long. Several processes may claim at once: each photo goes to one.

    Raises: as `Database.run`.
    """
    return await store.database.run(lambda connection: _claim(connection, store.generation.number, limit))


async def owed_dead_letters(store: Store) -> AsyncIterator[list[tuple[PhotoEvent, ErrorCode]]]:
    """The failed photos whose dead letter was not noted as written, and why they failed; some at a time.

    Looks through every session with a failed photo: meant for a start. What another process has just given up, and
    is writing the letter of, is among them.

    Raises: as `Database.run`.
    """
    after = SessionId("")
    while True:
        sessions, owed = await store.database.run(
            lambda connection: _owed(connection, store.generation.number, after)  # noqa: B023
        )
        if owed:
            yield owed
        if len(sessions) < _SESSIONS_AT_ONCE:
            return
        after = sessions[-1]


async def note_dead_letters(store: Store, photos: Sequence[PhotoEvent]) -> None:
    """Note that the dead letters of these photos are written; changes nothing where a photo has moved on.

    Raises: as `Database.run`.
    """
    if photos:
        await store.database.run(lambda connection: _note(connection, store.generation.number, photos))


async def _claim(connection: Connection, generation: int, limit: int) -> list[PhotoEvent]:
    cursor = await connection.execute(
        STATEMENTS["claim_overdue"], {"generation": generation, "limit": limit, "seconds": CLAIM_SECONDS}
    )
    return [_stored_event(row) for row in await cursor.fetchall()]


async def _owed(
    connection: Connection, generation: int, after: SessionId
) -> tuple[list[SessionId], list[tuple[PhotoEvent, ErrorCode]]]:
    cursor = await connection.execute(
        STATEMENTS["sessions_with_failures"],
        {"generation": generation, "after": after, "limit": _SESSIONS_AT_ONCE},
    )
    sessions = [session_id for (session_id,) in await cursor.fetchall()]
    cursor = await connection.execute(
        STATEMENTS["owed_dead_letters"], {"generation": generation, "sessions": sessions}
    )
    rows = await cursor.fetchall()
    return sessions, [(_stored_event(row), ErrorCode(code)) for *row, code in rows]


async def _note(connection: Connection, generation: int, photos: Sequence[PhotoEvent]) -> None:
    events = sorted((photo.event for photo in photos), key=lambda event: (event.session_id, event.photo_id))
    await lock_sessions(connection, (event.session_id for event in events))
    await connection.execute(
        STATEMENTS["note_dead_letters"],
        {
            "generation": generation,
            "sessions": [event.session_id for event in events],
            "photos": [event.photo_id for event in events],
            "times": [event.occurred_at for event in events],
        },
    )


def _stored_event(row: Sequence[Any]) -> PhotoEvent:
    """The event that a row rests on."""
    session_id, photo_id, s3_key, occurred_at, topic, partition, offset = row
    event = PhotoIndexed(session_id=session_id, photo_id=photo_id, s3_key=s3_key, occurred_at=occurred_at)
    return PhotoEvent(event=event, origin=Origin(topic=topic, partition=partition, offset=offset))
