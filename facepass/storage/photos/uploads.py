"""Photos that came by HTTP: objects that FacePass itself put into the photo store, and takes out again.

No object is left behind, whenever a process is killed: its row is there before it, and goes only after it. What
nothing came of, a deletion covers, or a newer event has replaced, is removed by a sweep, which tries until it is
gone. The doors for photos and deletions mark what is to go, in their own transactions.
"""

import asyncio
import secrets
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime

from psycopg.rows import scalar_row

from facepass.schemas.errors import ErrorCode, PermanentError, TransientError
from facepass.schemas.ids import UPLOADS_PREFIX, PhotoId, SessionId
from facepass.schemas.logs import get_logger
from facepass.schemas.metrics import uploads_removed_total, uploads_total
from facepass.storage.database import Connection, Database
from facepass.storage.photos.photo_port import WritablePhotoStore
from facepass.storage.statements import load_statements

_log = get_logger(__name__)

_STATEMENTS = load_statements("uploads")

PUT_SECONDS = 120.0
"""For one object: the photo store's own limit."""

STORING_SECONDS = 3600.0
"""After this nothing is on its way to the photo store any more. A process that was frozen for longer while it
stored, and killed when it woke, is the one way to leave an object behind."""

REGISTERED_SECONDS = 7 * 86400.0
"""How long an object waits for intake to register its event: as long as an outage of intake may last before photos
that came by HTTP are lost. An object whose event was never published lies this long."""

_AGAIN_SECONDS = 60.0
"""Between two attempts to remove an object."""

_CALLER_SECONDS = 20.0
_REMOVED_AT_ONCE = 16

_KEY_BYTES = 24
"""Random, so that a key says nothing of its photo, and cannot be guessed where the store is public."""


class UploadStore:
    """The keeper and remover of uploaded photos. Several processes may use one database and photo store."""

    def __init__(self, db: Database, photo_store: WritablePhotoStore) -> None:
        self._db = db
        self._photo_store = photo_store

    async def store(self, session_id: SessionId, photo_id: PhotoId, data: bytes, *, occurred_at: datetime) -> str:
        """The key of a photo that is stored by this call, under which it stays as long as an event names it.

        Args:
            occurred_at: of the event that will be published with the key.

        Raises:
            PermanentError: `fenced`: the photo was deleted meanwhile.
            TransientError: `store_unavailable`, `database_unavailable`.
        """
        key = UPLOADS_PREFIX + secrets.token_urlsafe(_KEY_BYTES)
        times = {"storing_seconds": STORING_SECONDS, "registered_seconds": REGISTERED_SECONDS}
        row = {"key": key, "session": session_id, "photo": photo_id, "time": occurred_at}
        await self._execute("begin", **row, **times)
        try:
            async with asyncio.timeout(PUT_SECONDS):
                await self._photo_store.put(key, data)
        except TimeoutError as exc:
            raise TransientError(ErrorCode.STORE_UNAVAILABLE, "photo store: the upload took too long") from exc
        if not await self._execute("confirm", key=key, **times):
            await self.give_up(key)
            raise PermanentError(ErrorCode.FENCED, "the photo was deleted while it was uploaded")
        uploads_total.inc()
        return key

    async def give_up(self, key: str) -> None:
        """Let the sweep remove a stored object that no event will name.

        Raises:
            TransientError: `database_unavailable`; the sweep finds it later then.
        """
        await self._execute("give_up", key=key)

    async def remove_deleted(self, session_id: SessionId, photo_id: PhotoId | None) -> int:
        """Remove the objects of a deleted session, or of one deleted photo; how many may still be there.

        Call it once the deletion has committed. Never fails because of the photo store, nor waits for it for
        longer than 20 s: the sweep goes on.

        Raises:
            TransientError: `database_unavailable`.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(_CALLER_SECONDS):
                keys = await self._leaving(session_id, photo_id)
                if not keys:
                    return 0
                await self._remove_all(keys)
        return len(await self._leaving(session_id, photo_id))

    async def sweep(self, limit: int) -> int:
        """Look at the objects that are due, at most `limit`, and remove those to go; how many were looked at.

        Raises:
            TransientError: `database_unavailable`.
        """
        due = await self._keys("claim_due", limit=limit, again_seconds=_AGAIN_SECONDS)
        if due:
            await self._execute("keep", keys=due)
            await self._remove_all(await self._keys("condemn", keys=due))
        return len(due)

    async def _remove_all(self, keys: Sequence[str]) -> None:
        places = asyncio.Semaphore(_REMOVED_AT_ONCE)

        async def remove(key: str) -> None:
            async with places:
                await self._remove(key)

        async with asyncio.TaskGroup() as group:
            for key in keys:
                group.create_task(remove(key))

    async def _remove(self, key: str) -> None:
        try:
            await self._photo_store.remove(key)
            # only now: whoever finds no row may say that there is no object
            uploads_removed_total.inc(await self._execute("forget", key=key, storing_seconds=STORING_SECONDS))
        except TransientError as exc:
            _log.warning("upload_not_removed", s3_key=key, error=exc)

    async def _leaving(self, session_id: SessionId, photo_id: PhotoId | None) -> list[str]:
        values = {"session": session_id, "photo": photo_id}
        async with self._db.transaction() as connection:
            cursor = connection.cursor(row_factory=scalar_row)
            return await (await cursor.execute(_STATEMENTS["leaving"], values)).fetchall()

    async def _keys(self, statement: str, **values: object) -> list[str]:
        """Run a statement in a transaction of its own; the keys of the rows it changed."""

        async def write(connection: Connection) -> list[str]:
            cursor = connection.cursor(row_factory=scalar_row)
            return await (await cursor.execute(_STATEMENTS[statement], values)).fetchall()

        return await self._db.run(write)

    async def _execute(self, statement: str, **values: object) -> int:
        """Run a statement in a transaction of its own; the number of rows it changed."""

        async def write(connection: Connection) -> int:
            return (await connection.execute(_STATEMENTS[statement], values)).rowcount

        return await self._db.run(write)
