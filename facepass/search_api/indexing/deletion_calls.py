"""DELETE /index/{session_id} and its photos: acknowledged once nobody can find them any more."""

from collections.abc import Awaitable, Callable
from typing import Annotated

import structlog
from fastapi import Depends, Response

from facepass.schemas.callers import Caller
from facepass.schemas.errors import ErrorCode, TransientError
from facepass.schemas.http.index_bodies import DeletionAnswer
from facepass.schemas.ids import PhotoIdField, SessionIdField
from facepass.schemas.logs import get_logger
from facepass.schemas.metrics import index_calls_waiting
from facepass.search_api.access import Guard
from facepass.search_api.http import ConcurrencyLimit, PhotoInPath, SessionInPath
from facepass.search_api.indexing.call_metrics import measured
from facepass.search_api.parts import Parts
from facepass.use_cases import Receipt, Target, erase

_log = get_logger(__name__)


def delete_session_endpoint(
    parts: Parts, guard: Guard, calls: ConcurrencyLimit
) -> Callable[[SessionIdField, Caller], Awaitable[Response]]:
    """The route's function. `calls`: bounds the calls under way, together with other routes."""

    async def delete_session(
        session_id: SessionInPath, _caller: Annotated[Caller, Depends(guard.limit_index())]
    ) -> Response:
        structlog.contextvars.bind_contextvars(session_id=session_id)
        with measured("delete_session"), calls.taken():
            return await _delete(parts, Target(session_id=session_id, photo_id=None))

    return delete_session


def delete_photo_endpoint(
    parts: Parts, guard: Guard, calls: ConcurrencyLimit
) -> Callable[[SessionIdField, PhotoIdField, Caller], Awaitable[Response]]:
    """The same for one photo."""

    async def delete_photo(
        session_id: SessionInPath,
        photo_id: PhotoInPath,
        _caller: Annotated[Caller, Depends(guard.limit_index())],
    ) -> Response:
        structlog.contextvars.bind_contextvars(session_id=session_id, photo_id=photo_id)
        with measured("delete_photo"), calls.taken():
            return await _delete(parts, Target(session_id=session_id, photo_id=photo_id))

    return delete_photo


async def _delete(parts: Parts, target: Target) -> Response:
    with index_calls_waiting.track_inprogress():
        receipt = await erase(
            parts.store.database,
            parts.uploads,
            parts.events,
            target,
            lease=parts.lease,
            applied_within=parts.indexing.index_wait_seconds,
            unserved_within=parts.indexing.delete_wait_seconds,
        )
    _tell(receipt)
    if receipt.applied_at is None or receipt.acknowledged_at is None:
        raise _not_yet(receipt)
    body = DeletionAnswer(
        deleted=True,
        embeddings_removed=receipt.faces_removed,
        photos_removed=receipt.photos_removed,
        session_id=target.session_id,
        photo_id=target.photo_id,
        fence=receipt.fence,
        applied_at=receipt.applied_at,
        acknowledged_at=receipt.acknowledged_at,
        uploads_pending=receipt.uploads_pending,
    )
    return Response(body.model_dump_json(), media_type="application/json")


def _not_yet(receipt: Receipt) -> TransientError:
    """An error on purpose, and not a 202: whoever deletes goes on to delete elsewhere when this call succeeds."""
    applied = receipt.applied_at is not None
    how_far = "applied, but a serving process may still answer with it" if applied else "not applied yet"
    return TransientError(
        ErrorCode.PENDING,
        f"the deletion is accepted and {how_far}; it goes on by itself: call again for the acknowledgement",
        fence=receipt.fence.isoformat(),
        applied=int(applied),
        embeddings_removed=receipt.faces_removed,
        photos_removed=receipt.photos_removed,
    )


def _tell(receipt: Receipt) -> None:
    _log.info(
        "deletion_called_for",
        fence=receipt.fence.isoformat(),
        applied=receipt.applied_at is not None,
        acknowledged=receipt.acknowledged_at is not None,
        faces_removed=receipt.faces_removed,
        photos_removed=receipt.photos_removed,
        uploads_pending=receipt.uploads_pending,
    )
