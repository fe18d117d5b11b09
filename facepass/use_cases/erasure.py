"""Deleting a session or a photo for good, and knowing when it is done: for HTTP and the command line alike.

The deletion goes through Kafka like Pixora's own, so that a replay knows of it too. It is done when intake has
applied it, no serving process can answer with it any more, and the photo store holds none of its uploads.
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from facepass.schemas.events import EventPublisher, PhotoDeleted, SessionDeleted
from facepass.schemas.ids import PhotoId, SessionId
from facepass.schemas.settings import LeaseSettings
from facepass.storage import Connection, Database, load_statements
from facepass.storage.photos import UploadStore
from facepass.storage.shards import wait_until_unserved

_STATEMENTS = load_statements("erasure")

_FIRST_LOOK_SECONDS = 0.02
_LONGEST_LOOK_SECONDS = 1.0
"""Between two looks whether intake has applied it: the pauses grow by half each time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What is to be deleted: a whole session, or one photo of it."""

    session_id: SessionId
    photo_id: PhotoId | None

    def __str__(self) -> str:
        if self.photo_id is None:
            return f"session {self.session_id}"
        return f"photo {self.photo_id} of session {self.session_id}"

    def event(self, occurred_at: datetime) -> SessionDeleted | PhotoDeleted:
        """The deletion as Pixora would publish it."""
        if self.photo_id is None:
            return SessionDeleted(session_id=self.session_id, occurred_at=occurred_at)
        return PhotoDeleted(session_id=self.session_id, photo_id=self.photo_id, occurred_at=occurred_at)


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What a deletion did.

    Attributes:
        fence: nothing of the target up to this time comes back.
        applied_at: when the rows were removed; None: intake has not come to it yet.
        photos_removed, faces_removed: by this deletion; 0 if there was nothing, or another had come first.
        uploads_pending: objects in the photo store that FacePass stored and has not removed yet.
        acknowledged_at: when no replica could answer with it any more; None: not known yet.
    """

    target: Target
    fence: datetime
    applied_at: datetime | None = None
    photos_removed: int = 0
    faces_removed: int = 0
    uploads_pending: int = 0
    acknowledged_at: datetime | None = None


async def erase(
    db: Database,
    uploads: UploadStore,
    publisher: EventPublisher,
    target: Target,
    *,
    lease: LeaseSettings,
    applied_within: float,
    unserved_within: float,
) -> Receipt:
    """Publish a deletion and wait until it is done, or the time is over. Nothing has to be known of the target.

    Args:
        applied_within: seconds to wait for intake.
        unserved_within: seconds to wait for the replicas then.

    Returns: the receipt; the deletion is acknowledged only if it has an `acknowledged_at`.

    Raises:
        TransientError: `database_unavailable`, `broker_unavailable`.
        PermanentError: `event_refused`.
    """
    fence = max(filter(None, [datetime.now(UTC), await _newest(db, target)]))
    await publisher.publish(target.event(fence), origin_api=True)
    applied = await _applied(db, target, fence, applied_within)
    if applied is None:
        return Receipt(target=target, fence=fence)
    photos_removed, faces_removed, applied_at = applied
    removing = asyncio.create_task(uploads.remove_deleted(target.session_id, target.photo_id))
    try:
        unserved = await wait_until_unserved(db, lease.lease_seconds, timeout=unserved_within)
        pending = await removing
    finally:
        removing.cancel()
    return Receipt(
        target=target,
        fence=fence,
        applied_at=applied_at,
        photos_removed=photos_removed,
        faces_removed=faces_removed,
        uploads_pending=pending,
        acknowledged_at=datetime.now(UTC) if unserved else None,
    )


async def forget_receipts(db: Database, *, kept_seconds: float) -> int:
    """Remove what is only of use to those who wait for a deletion; how many rows.

    Raises: as `Database.run`.
    """

    async def forget(connection: Connection) -> int:
        return (await connection.execute(_STATEMENTS["forget"], {"kept_seconds": kept_seconds})).rowcount

    return await db.run(forget)


async def _newest(db: Database, target: Target) -> datetime | None:
    """The newest event present: photos of a producer whose clock runs ahead are to be covered too."""
    row = await _one_row(db, "newest", target)
    newest: datetime | None = row[0] if row else None
    return newest


async def _applied(
    db: Database, target: Target, fence: datetime, seconds: float
) -> tuple[int, int, datetime] | None:
    """Photos and faces removed, and when, once the fence stands; None if it does not in time."""
    deadline, pause = time.monotonic() + seconds, _FIRST_LOOK_SECONDS
    while (row := await _one_row(db, "applied", target, fence=fence)) is None:
        if time.monotonic() >= deadline:
            return None
        await asyncio.sleep(pause)
        pause = min(pause * 1.5, _LONGEST_LOOK_SECONDS)
    photos_removed, faces_removed, applied_at = row
    return photos_removed, faces_removed, applied_at


async def _one_row(db: Database, statement: str, target: Target, **values: object) -> Sequence[Any] | None:
    ids = {"session": target.session_id, "photo": target.photo_id}
    async with db.transaction() as connection:
        return await (await connection.execute(_STATEMENTS[statement], {**ids, **values})).fetchone()
