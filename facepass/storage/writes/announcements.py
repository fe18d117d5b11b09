"""What Pixora announces of sessions, and what the ledger says of one."""

from facepass.schemas.events import SessionUpdated
from facepass.schemas.ids import SessionId
from facepass.schemas.ledger import Effect, SessionCounts
from facepass.storage.database import Connection, Database
from facepass.storage.generations import Store
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


async def read_counts(store: Store, session_id: SessionId) -> SessionCounts:
    """The session's row of the ledger; all zeros and `known` false if nothing was ever heard of it.

    Raises: as `Database.run`.
    """
    async with store.database.transaction() as connection:
        cursor = await connection.execute(
            STATEMENTS["read_counts"], {"generation": store.generation.number, "session": session_id}
        )
        row = await cursor.fetchone()
    enabled, revision, pending, indexed, no_face, filtered, failed, deleted, photos, faces, last = row or (
        (None, *(0,) * 9, None)
    )
    return SessionCounts(
        session_id=session_id,
        known=row is not None,
        revision=revision,
        pending=pending,
        indexed=indexed,
        no_face=no_face,
        filtered=filtered,
        failed=failed,
        deleted=deleted,
        photo_count=photos,
        face_count=faces,
        last_indexed=last,
        facepass_enabled=enabled,
    )
