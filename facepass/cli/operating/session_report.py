"""The work of `facepass sessions`: what became of a session's photos, and its deletion with a receipt."""

from contextlib import AsyncExitStack

from facepass.embedding import read_spec
from facepass.schemas.errors import ErrorCode, PermanentError, TransientError
from facepass.schemas.ids import SessionId
from facepass.schemas.settings import (
    DatabaseSettings,
    KafkaSettings,
    LeaseSettings,
    ModelSettings,
    PhotoStoreSettings,
    read_settings,
)
from facepass.storage import Store, open_database, open_store
from facepass.storage.photos import UploadStore, open_photo_store
from facepass.storage.reads import (
    PhotoRow,
    SessionRow,
    is_session_known,
    read_photos,
    read_session,
    read_unfinished,
)
from facepass.storage.shards import LEASE_MARGIN_SECONDS
from facepass.streams.kafka import open_publisher
from facepass.use_cases import Receipt, Target, erase

_LISTED = 50
"""Photos that `show` lists; it says when there are more."""


async def show_session(session_id: SessionId) -> None:
    """Print a session's ledger, and the photos that failed or wait, with the reasons.

    Raises:
        PermanentError: `session_not_found`.
        TransientError: `database_unavailable`.
    """
    async with AsyncExitStack() as stack:
        store = await _open(stack)
        session = await read_session(store, session_id)
        if not session.known:
            raise _unknown(session_id)
        unfinished = await read_unfinished(store, session_id, limit=_LISTED + 1)
    _print_ledger(session)
    if unfinished:
        _print_unfinished(unfinished)


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
        store = await _open(stack)
        await _check_known(store, target)
        photo_store = await stack.enter_async_context(open_photo_store(read_settings(PhotoStoreSettings)))
        # It publishes the event; intake applies it and the replicas let go, each in a process of its own.
        receipt = await erase(
            store.database,
            UploadStore(store.database, photo_store),
            await stack.enter_async_context(open_publisher(kafka)),
            target,
            lease=lease,
            applied_within=patience,
            unserved_within=lease.lease_seconds + LEASE_MARGIN_SECONDS + patience,
        )
    if receipt.applied_at is None:
        raise TransientError(
            ErrorCode.BROKER_UNAVAILABLE,
            f"the deletion is in Kafka, but intake did not apply it within {patience:.0f} s: is `facepass"
            " intake` running? It will apply it when it is; ask again then for the acknowledgement",
        )
    return receipt


def print_receipt(receipt: Receipt) -> None:
    """Print what was deleted, up to when, and whether every replica has let go of it."""
    said = "no serving process can answer with them any more" if receipt.acknowledged_at else "NOT YET: ask again"
    lines = [
        f"deleted        {receipt.target}",
        f"fence          {receipt.fence.isoformat()}: nothing up to then comes back",
        f"removed        {receipt.faces_removed} embeddings of {receipt.photos_removed} photos",
        f"acknowledged   {said}",
    ]
    if receipt.uploads_pending:
        lines.append(
            f"photo store    {receipt.uploads_pending} uploaded photos not removed yet; intake goes on trying"
        )
    print("\n".join(lines))


async def _check_known(store: Store, target: Target) -> None:
    """Refuse a session or photo that nothing was ever heard of: an operator who mistypes an id is told so."""
    if not await is_session_known(store.database, target.session_id):
        raise _unknown(target.session_id)
    if not target.photo_id:
        return
    photos = await read_photos(store, target.session_id, [target.photo_id])
    if not photos[target.photo_id].known:
        raise PermanentError(
            ErrorCode.PHOTO_NOT_FOUND, "no such photo in this session; ids are compared letter by letter"
        )


async def _open(stack: AsyncExitStack) -> Store:
    database = await stack.enter_async_context(open_database(read_settings(DatabaseSettings)))
    return await open_store(database, read_spec(read_settings(ModelSettings)))


def _unknown(session_id: SessionId) -> PermanentError:
    return PermanentError(
        ErrorCode.SESSION_NOT_FOUND,
        f"nothing was ever heard of session {session_id!r}; ids are compared letter by letter",
    )


def _announced(value: object) -> str:
    return "not announced" if value is None else str(value)


def _print_ledger(session: SessionRow) -> None:
    rows = {
        "session": session.session_id,
        "name": _announced(session.name),
        "studio": _announced(session.studio_id),
        "FacePass enabled": _announced(session.facepass_enabled),
        "deleted up to": session.deleted_at.isoformat() if session.deleted_at else "never deleted",
        "revision": session.revision,
        "faces": f"{session.face_count} on {session.photo_count} photos",
        "last indexed": session.last_indexed.isoformat() if session.last_indexed else "never",
        "photos seen": session.present + session.deleted,
        "  pending": session.pending,
        "  indexed": session.indexed,
        "  no_face": session.no_face,
        "  filtered": session.filtered,
        "  failed": session.failed,
        "  deleted": session.deleted,
    }
    for name, value in rows.items():
        print(f"{name:<18}{value}")


def _print_unfinished(photos: list[PhotoRow]) -> None:
    """One line a photo, never cut, so that it can be searched and copied."""
    print("\nfailed and pending photos: photo, state, error, attempts, record, next attempt")
    for photo in photos[:_LISTED]:
        due = photo.next_attempt_at.isoformat(timespec="seconds") if photo.next_attempt_at else "none"
        print(f"  {photo.photo_id}  {photo.state}  {photo.error or '-'}  {photo.attempts}  {photo.record}  {due}")
    if len(photos) > _LISTED:
        print(f"  … and more; the first {_LISTED} are shown")
