"""The write door for what Pixora announces of sessions."""

from facepass.schemas.events import SessionUpdated
from facepass.schemas.ledger import Effect
from facepass.storage.database import Connection, Database
from facepass.storage.writes.ledger_rows import STATEMENTS, lock_sessions


async def update_session(db: Database, event: SessionUpdated) -> Effect:
    """Write what `event` says of its session, unless a newer announcement or a fence is there; one transaction.

    Raises: as `Database.run`.
    """
    return await db.run(lambda connection: _update(connection, event))


async def _update(connection: Connection, event: SessionUpdated) -> Effect:
    await lock_sessions(connection, [event.session_id])
    values = {
        "session": event.session_id,
        "name": event.name,
        "studio": event.studio_id,
        "enabled": event.facepass_enabled,
        "time": event.occurred_at,
    }
    row = await (await connection.execute(STATEMENTS["read_announcement"], values)).fetchone()
    updated_at, fence = row or (None, None)
    if fence is not None and event.occurred_at <= fence:
        return Effect.FENCED
    if updated_at is not None and event.occurred_at <= updated_at:
        return Effect.DUPLICATE
    if fence is not None and not event.occurred_at_given:
        return Effect.FENCED
    await connection.execute(STATEMENTS["announce"], values)
    return Effect.WRITTEN
