"""DELETE /index/{session_id} and its photos: acknowledged once nobody can find them any more."""

from typing import Annotated

import structlog
from fastapi import APIRouter, Depends, Response

from facepass.schemas.callers import Caller
from facepass.schemas.errors import ErrorCode, TransientError
from facepass.schemas.http.index_bodies import DeletionAnswer
from facepass.schemas.logs import get_logger
from facepass.schemas.metrics import index_calls_waiting
from facepass.search_api.access import Guard
from facepass.search_api.http import PhotoInPath, SessionInPath, documented, json_answer
from facepass.search_api.indexing.call_metrics import measured
from facepass.search_api.indexing.index_document import DELETION_ERRORS
from facepass.search_api.indexing.index_resources import IndexResources
from facepass.use_cases import Receipt, Target, erase

_log = get_logger(__name__)


def add_photo_deletion(router: APIRouter, resources: IndexResources, guard: Guard) -> None:
    """Delete one photo."""

    @router.delete(
        "/index/{session_id:segment}/photos/{photo_id:segment}",
        summary="Delete one photo",
        response_model=DeletionAnswer,
        response_description="Deleted, and no serving process can answer with it any more",
        responses=documented(*DELETION_ERRORS),
    )
    async def delete_photo(
        session_id: SessionInPath,
        photo_id: PhotoInPath,
        _caller: Annotated[Caller, Depends(guard.limit_index())],
    ) -> Response:
        structlog.contextvars.bind_contextvars(session_id=session_id, photo_id=photo_id)
        with measured("delete_photo"), resources.under_way.counted():
            return await _delete(resources, Target(session_id=session_id, photo_id=photo_id))


def add_session_deletion(router: APIRouter, resources: IndexResources, guard: Guard) -> None:
    """Delete a session."""

    @router.delete(
        "/index/{session_id:segment}",
        summary="Delete all photos of a session",
        response_model=DeletionAnswer,
        response_description="Deleted, and no serving process can answer with it any more",
        responses=documented(*DELETION_ERRORS),
    )
    async def delete_session(
        session_id: SessionInPath, _caller: Annotated[Caller, Depends(guard.limit_index())]
    ) -> Response:
        structlog.contextvars.bind_contextvars(session_id=session_id)
        with measured("delete_session"), resources.under_way.counted():
            return await _delete(resources, Target(session_id=session_id, photo_id=None))


async def _delete(resources: IndexResources, target: Target) -> Response:
    with index_calls_waiting.track_inprogress():
        # It publishes the event; intake applies it and the replicas let go, each in a process of its own.
        receipt = await erase(
            resources.store.database,
            resources.uploads,
            resources.events,
            target,
            lease=resources.lease,
            applied_within=resources.settings.index_wait_seconds,
            unserved_within=resources.settings.delete_wait_seconds,
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
    return json_answer(body)


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
