"""The write doors for deletions: raise the fence, and remove what it covers in every generation."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg.sql import SQL

from facepass.schemas.events import IndexUpdate
from facepass.schemas.ids import PhotoId, SessionId
from facepass.schemas.ledger import Effect, UpdateStatus
from facepass.storage.database import Connection, Database
from facepass.storage.generations import Generation, Store
from facepass.storage.writes.ledger_rows import STATEMENTS, lock_sessions


@dataclass(frozen=True, slots=True, kw_only=True)
class Deletion:
    """The outcome of a deletion.

    Attributes:
        effect: written, or duplicate if an equal or later deletion was there already.
        update: what to publish on `index-updates`, for a duplicate too; its revision is one from which shards hold
            nothing of what was deleted.
        faces_removed, photos_removed: in the generation given.
    """

    effect: Effect
    update: IndexUpdate
    faces_removed: int
    photos_removed: int


async def delete_session(store: Store, session_id: SessionId, occurred_at: datetime) -> Deletion:
    """Remove the faces of a session up to `occurred_at`, and fence all that is not newer; one transaction.

    Photos stay as fence rows in state `deleted`; name, studio and S3 keys are erased.

    Raises: as `Database.run`.
    """
    return await store.database.run(
        lambda connection: _delete(connection, store.generation, session_id, None, occurred_at)
    )


async def delete_photo(store: Store, session_id: SessionId, photo_id: PhotoId, occurred_at: datetime) -> Deletion:
    """Remove one photo's faces up to `occurred_at`, and fence it; one transaction. Its row stays, as `deleted`.

    Raises: as `Database.run`.
    """
    return await store.database.run(
        lambda connection: _delete(connection, store.generation, session_id, photo_id, occurred_at)
    )


async def forget_receipts(db: Database, *, kept_seconds: float) -> int:
    """Remove what is only of use to those who wait for a deletion; how many rows.

    Raises: as `Database.run`.
    """

    async def forget(connection: Connection) -> int:
        return (await connection.execute(STATEMENTS["forget_receipts"], {"kept_seconds": kept_seconds})).rowcount

    return await db.run(forget)


async def _delete(
    connection: Connection,
    generation: Generation,
    session_id: SessionId,
    photo_id: PhotoId | None,
    occurred_at: datetime,
) -> Deletion:
    await lock_sessions(connection, [session_id])
    values = {
        "generation": generation.number,
        "session": session_id,
        "sessions": [session_id],
        "photo": photo_id,
        "time": occurred_at,
    }
    fence = await _fence(connection, values)
    raised = fence is None or fence < occurred_at
    faces, photos = await _remove(connection, values) if raised else (0, 0)
    if raised:
        await connection.execute(STATEMENTS["note_receipt"], {**values, "faces": faces, "photos": photos})
    revision = await (await connection.execute(STATEMENTS["revision"], values)).fetchone()
    update = IndexUpdate(
        session_id=session_id,
        photo_id=photo_id,
        occurred_at=occurred_at.isoformat(),  # the model takes RFC 3339 text
        generation=generation.number,
        revision=revision[0] if revision else 0,
        status=UpdateStatus.SESSION_DELETED if photo_id is None else UpdateStatus.DELETED,
    )
    effect = Effect.WRITTEN if raised else Effect.DUPLICATE
    return Deletion(effect=effect, update=update, faces_removed=faces, photos_removed=photos)


async def _fence(connection: Connection, values: dict[str, Any]) -> datetime | None:
    """The fence of the photo, if one is given, else of the session."""
    row = await (await connection.execute(STATEMENTS["read_fence"], values)).fetchone()
    if row is None:
        return None
    fence: datetime | None = row[0] if values["photo"] is None else row[1]
    return fence


async def _remove(connection: Connection, values: dict[str, Any]) -> tuple[int, int]:
    """Write the fence and remove what it covers: faces and photos removed in the generation of `values`."""
    await connection.execute(STATEMENTS["add_ledgers"], values)
    if values["photo"] is None:
        await connection.execute(STATEMENTS["fence_session"], values)
        await connection.execute(STATEMENTS["fence_photos_of_session"], values)
        of_photo = SQL("")
    else:
        await connection.execute(STATEMENTS["fence_photo"], values)
        await connection.execute(STATEMENTS["add_deleted"], values)
        of_photo = SQL("AND photo_id = %(photo)s")
    await connection.execute(SQL(STATEMENTS["release_covered_uploads"]).format(of_photo=of_photo), values)
    statement = SQL(STATEMENTS["remove_covered"]).format(of_photo=of_photo)
    rows = await (await connection.execute(statement, values)).fetchall()
    return next(((faces, photos) for number, faces, photos in rows if number == values["generation"]), (0, 0))
