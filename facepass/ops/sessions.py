"""`facepass sessions`: what became of a session's photos, and its deletion with a receipt."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime

from facepass.embedding import read_spec
from facepass.schemas.errors import ErrorCode, PermanentError, TransientError
from facepass.schemas.events import PhotoDeleted, SessionDeleted
from facepass.schemas.ids import PhotoId, SessionId
from facepass.schemas.ledger import SessionCounts
from facepass.schemas.settings import DatabaseSettings, KafkaSettings, LeaseSettings, ModelSettings, read_settings
from facepass.storage.database import Database, open_database
from facepass.storage.generations import Generation, open_generation
from facepass.storage.replica import LEASE_MARGIN_SECONDS, wait_until_unserved
from facepass.storage.session_reports import (
    SessionFacts,
    UnfinishedPhoto,
    read_photo,
    read_session,
    read_unfinished,
)
from facepass.storage.writes import read_counts
from facepass.streams.publisher import open_publisher

_LISTED = 50
"""Photos that `show` lists; it says when there are more."""

_LOOK_SECONDS = 0.1


async def show_session(session_id: SessionId) -> None:
    """Print a session's ledger, and the photos that failed or wait, with the reasons.

    Raises:
        PermanentError: `session_not_found`.
        TransientError: `database_unavailable`.
    """
    async with AsyncExitStack() as stack:
        database, generation = await _open(stack)
        facts = await read_session(database, session_id)
        if facts is None:
            raise _unknown(session_id)
        counts = await read_counts(database, generation, session_id)
        unfinished = await read_unfinished(database, generation, session_id, limit=_LISTED + 1)
    _print_ledger(session_id, facts, counts)
    if unfinished:
        _print_unfinished(unfinished)


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What is to be deleted: a whole session, or one photo of it."""

    session_id: SessionId
    photo_id: PhotoId | None

    def __str__(self) -> str:
        return (
            f"photo {self.photo_id} of session {self.session_id}"
            if self.photo_id
            else f"session {self.session_id}"
        )

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
        faces_before, faces_after: stored embeddings, before the event was published and after it was applied.
        acknowledged: whether no replica can answer with them any more.
    """

    target: Target
    fence: datetime
    faces_before: int
    faces_after: int
    acknowledged: bool


async def delete_and_wait(target: Target, *, patience: float) -> Receipt:
    """Publish the deletion as Pixora would, wait until intake has applied it and no replica serves it.

    Args:
        patience: seconds to wait for intake, and again for the replicas beyond their lease.

    Raises:
        PermanentError: `session_not_found`, `photo_not_found`: nothing was ever heard of it.
        TransientError: `database_unavailable`, `broker_unavailable`, also if intake does not apply it in time.
    """
    kafka, lease = read_settings(KafkaSettings), read_settings(LeaseSettings)
    async with AsyncExitStack() as stack:
        database, generation = await _open(stack)
        before = await _state(database, generation, target)
        # Photos of a producer whose clock runs ahead are to be covered too.
        fence = max(filter(None, [datetime.now(UTC), before.newest_event]))
        publisher = await stack.enter_async_context(open_publisher(kafka))
        await publisher.publish(target.event(fence), origin_api=True)
        after = await _applied(lambda: _state(database, generation, target), fence, patience)
        longest = lease.lease_seconds + LEASE_MARGIN_SECONDS + patience
        gone = await wait_until_unserved(database, lease.lease_seconds, timeout=longest)
    return Receipt(
        target=target,
        fence=fence,
        faces_before=before.face_count,
        faces_after=after.face_count,
        acknowledged=gone,
    )


def print_receipt(receipt: Receipt) -> None:
    """Print what was deleted, up to when, and whether every replica has let go of it."""
    said = "no serving process can answer with them any more" if receipt.acknowledged else "NOT YET: ask again"
    lines = [
        f"deleted        {receipt.target}",
        f"fence          {receipt.fence.isoformat()}: nothing up to then comes back",
        f"embeddings     {receipt.faces_before} before, {receipt.faces_after} now",
        f"acknowledged   {said}",
    ]
    print("\n".join(lines))


@dataclass(frozen=True, slots=True, kw_only=True)
class _State:
    deleted_at: datetime | None
    newest_event: datetime | None
    face_count: int


async def _state(database: Database, generation: Generation, target: Target) -> _State:
    if target.photo_id is None:
        facts = await read_session(database, target.session_id)
        if facts is None:
            raise _unknown(target.session_id)
        faces = (await read_counts(database, generation, target.session_id)).face_count
        return _State(deleted_at=facts.deleted_at, newest_event=facts.newest_event, face_count=faces)
    photo = await read_photo(database, generation, target.session_id, target.photo_id)
    if photo is None:
        raise PermanentError(
            ErrorCode.PHOTO_NOT_FOUND, "no such photo in this session; ids are compared letter by letter"
        )
    return _State(deleted_at=photo.deleted_at, newest_event=photo.newest_event, face_count=photo.face_count)


async def _applied(state: Callable[[], Awaitable[_State]], fence: datetime, patience: float) -> _State:
    """The target's state once the fence stands."""
    deadline = time.monotonic() + patience
    while (now := await state()).deleted_at is None or now.deleted_at < fence:
        if time.monotonic() > deadline:
            raise TransientError(
                ErrorCode.BROKER_UNAVAILABLE,
                f"the deletion is in Kafka, but intake did not apply it within {patience:.0f} s: is `facepass"
                " intake` running? It will apply it when it is; ask again then for the acknowledgement",
            )
        await asyncio.sleep(_LOOK_SECONDS)
    return now


async def _open(stack: AsyncExitStack) -> tuple[Database, Generation]:
    database = await stack.enter_async_context(open_database(read_settings(DatabaseSettings)))
    return database, await open_generation(database, read_spec(read_settings(ModelSettings)))


def _unknown(session_id: SessionId) -> PermanentError:
    return PermanentError(
        ErrorCode.SESSION_NOT_FOUND,
        f"nothing was ever heard of session {session_id!r}; ids are compared letter by letter",
    )


def _announced(value: object) -> str:
    return "not announced" if value is None else str(value)


def _print_ledger(session_id: SessionId, facts: SessionFacts, counts: SessionCounts) -> None:
    rows = {
        "session": session_id,
        "name": _announced(facts.name),
        "studio": _announced(facts.studio_id),
        "FacePass enabled": _announced(facts.facepass_enabled),
        "deleted up to": facts.deleted_at.isoformat() if facts.deleted_at else "never deleted",
        "revision": counts.revision,
        "faces": f"{counts.face_count} on {counts.photo_count} photos",
        "last indexed": counts.last_indexed.isoformat() if counts.last_indexed else "never",
        "photos seen": counts.present + counts.deleted,
        "  pending": counts.pending,
        "  indexed": counts.indexed,
        "  no_face": counts.no_face,
        "  filtered": counts.filtered,
        "  failed": counts.failed,
        "  deleted": counts.deleted,
    }
    for name, value in rows.items():
        print(f"{name:<18}{value}")


def _print_unfinished(photos: list[UnfinishedPhoto]) -> None:
    """One line a photo, never cut, so that it can be searched and copied."""
    print("\nfailed and pending photos: photo, state, error, attempts, record, next attempt")
    for photo in photos[:_LISTED]:
        record = f"{photo.origin.topic}[{photo.origin.partition}]@{photo.origin.offset}"
        due = photo.next_attempt_at.isoformat(timespec="seconds") if photo.next_attempt_at else "none"
        print(f"  {photo.photo_id}  {photo.state}  {photo.error or '-'}  {photo.attempts}  {record}  {due}")
    if len(photos) > _LISTED:
        print(f"  … and more; the first {_LISTED} are shown")
