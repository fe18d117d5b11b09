"""The events of the legacy routes: number, name, place and date of the session whose id is the event's UUID.

They are not made from Kafka's topics, so a rebuild does not bring them back; a backup of the database does.
Deleting the session deletes its event in the same transaction, by a trigger: what it erases must not stay here.
"""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from psycopg.rows import class_row

from facepass.schemas.ids import SessionId
from facepass.storage.database import Connection, Database
from facepass.storage.statements import load_statements

_STATEMENTS = load_statements("legacy_events")


@dataclass(frozen=True, slots=True, kw_only=True)
class LegacyEvent:
    """An event as it was created. `number` and `uuid` never change."""

    number: int
    uuid: UUID
    name: str
    location: str | None
    date: datetime | None
    created_at: datetime

    @property
    def session_id(self) -> SessionId:
        """The id of the event's session: its UUID as text."""
        return SessionId(str(self.uuid))


async def create_event(
    db: Database, uuid: UUID, name: str, *, location: str | None, date: datetime | None
) -> LegacyEvent:
    """Store a new event. Raises: as `Database.run`."""
    events = await _read(db, "create", uuid=uuid, name=name, location=location, date=date)
    return events[0]


async def list_events(db: Database, *, skip: int, limit: int) -> list[LegacyEvent]:
    """The events, oldest first, at most `limit` after the first `skip`. Raises: as `Database.run`."""
    return await _read(db, "list", skip=skip, limit=limit)


async def event_by_uuid(db: Database, uuid: UUID) -> LegacyEvent | None:
    """The event of that UUID; None if there is none. Raises: as `Database.run`."""
    return next(iter(await _read(db, "by_uuid", uuid=uuid)), None)


async def event_by_number(db: Database, number: int) -> LegacyEvent | None:
    """The event of that number; None if there is none. Raises: as `Database.run`."""
    return next(iter(await _read(db, "by_number", number=number)), None)


async def _read(db: Database, statement: str, **values: object) -> list[LegacyEvent]:
    async def work(connection: Connection) -> list[LegacyEvent]:
        cursor = connection.cursor(row_factory=class_row(LegacyEvent))
        return await (await cursor.execute(_STATEMENTS[statement], values)).fetchall()

    return await db.run(work)
