"""Deleting a session or a photo for good, and knowing when it is done: for HTTP and the command line alike.

The deletion goes through Kafka like Pixora's own, so that a replay knows of it too. It is done when intake has
applied it, no serving process can answer with it any more, and the photo store holds none of its uploads.
"""

import asyncio
import time
from dataclasses import dataclass
from datetime import UTC, datetime

from facepass.schemas.events import EventPublisher, PhotoDeleted, SessionDeleted
from facepass.schemas.ids import PhotoId, SessionId
from facepass.schemas.settings import LeaseSettings
from facepass.storage import Database
from facepass.storage.photos import UploadStore
from facepass.storage.reads import ReceiptRow, read_newest_event, read_receipt
from facepass.storage.shards import wait_until_unserved

_FIRST_LOOK_SECONDS = 0.02
_LONGEST_LOOK_SECONDS = 1.0
"""Between two looks whether intake has applied it: the pauses grow by half each time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """The target of a deletion: a whole session, or one photo of it."""

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
    """The receipt of a deletion: what it did.

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
    newest = await read_newest_event(db, target.session_id, target.photo_id)
    # photos of a producer whose clock runs ahead are to be covered too
    fence = max(filter(None, [datetime.now(UTC), newest]))
    await publisher.publish(target.event(fence), origin_api=True)
    applied = await _applied(db, target, fence, applied_within)
    if applied is None:
        return Receipt(target=target, fence=fence)
    removing = asyncio.create_task(uploads.remove_deleted(target.session_id, target.photo_id))
    try:
        unserved = await wait_until_unserved(db, lease.lease_seconds, timeout=unserved_within)
        pending = await removing
    finally:
        removing.cancel()
    return Receipt(
        target=target,
        fence=fence,
        applied_at=applied.applied_at,
        photos_removed=applied.photos_removed,
        faces_removed=applied.faces_removed,
        uploads_pending=pending,
        acknowledged_at=datetime.now(UTC) if unserved else None,
    )


async def _applied(db: Database, target: Target, fence: datetime, seconds: float) -> ReceiptRow | None:
    """The deletion's receipt, once its fence stands; None if it does not in time."""
    deadline, pause = time.monotonic() + seconds, _FIRST_LOOK_SECONDS
    while (row := await read_receipt(db, target.session_id, target.photo_id, fence)) is None:
        if time.monotonic() >= deadline:
            return None
        await asyncio.sleep(pause)
        pause = min(pause * 1.5, _LONGEST_LOOK_SECONDS)
    return row
