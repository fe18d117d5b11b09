"""The routes that index and delete. All need a key with scope index, and count against its limit."""

from fastapi import APIRouter

from facepass.schemas.errors import ErrorCode
from facepass.schemas.http.index_bodies import BatchAnswer, DeletionAnswer, IndexAnswer, IndexPending
from facepass.search_api.access import KEY_ERRORS, LIMIT_ERRORS, Guard
from facepass.search_api.http import ConcurrencyLimit, documented
from facepass.search_api.indexing.batch_call import batch_body, batch_endpoint
from facepass.search_api.indexing.deletion_calls import delete_photo_endpoint, delete_session_endpoint
from facepass.search_api.indexing.event_stream import EVENTS
from facepass.search_api.indexing.photo_call import photo_body, photo_endpoint
from facepass.search_api.parts import Parts

CALLS_AT_ONCE = 256
"""Calls that wait at most: far more than one key may begin in the time that they wait."""

_EVERY = (
    *KEY_ERRORS,
    *LIMIT_ERRORS,
    ErrorCode.INVALID_ID,
    ErrorCode.INTERNAL,
    ErrorCode.BROKER_UNAVAILABLE,
    ErrorCode.EVENT_REFUSED,
    ErrorCode.OVERLOADED,
)
_BODY = (
    ErrorCode.INVALID_PARAMETER,
    ErrorCode.UPLOAD_TIMEOUT,
    ErrorCode.FILE_TOO_LARGE,
    ErrorCode.IDEMPOTENCY_MISMATCH,
    ErrorCode.REQUEST_UNDER_WAY,
)
PHOTO_ERRORS = (
    *_EVERY,
    *_BODY,
    ErrorCode.NO_FACE,
    ErrorCode.FILTERED,
    ErrorCode.FENCED,
    ErrorCode.INVALID_S3_KEY,
    ErrorCode.PHOTO_NOT_FOUND,
    ErrorCode.STORE_FORBIDDEN,
    ErrorCode.STORE_UNAVAILABLE,
    ErrorCode.TOO_MANY_PIXELS,
    ErrorCode.UNSUPPORTED_IMAGE,
    ErrorCode.DAMAGED_IMAGE,
    ErrorCode.DECODER_FAILED,
)
BATCH_ERRORS = (*_EVERY, *_BODY)
DELETION_ERRORS = (*_EVERY, ErrorCode.PENDING)


def index_routes(parts: Parts, guard: Guard) -> APIRouter:
    """The routes that index and delete."""
    router = APIRouter(tags=["index"])
    calls = ConcurrencyLimit(CALLS_AT_ONCE, what="calls that index or delete")
    router.add_api_route(
        "/index",
        photo_endpoint(parts, guard, calls),
        methods=["POST"],
        summary="Index one photo",
        response_model=IndexAnswer,
        response_description="Indexed",
        responses={
            202: {"model": IndexPending, "description": "accepted, not indexed yet"},
            **documented(*PHOTO_ERRORS),
        },
        openapi_extra=photo_body(),
    )
    router.add_api_route(
        "/index/batch",
        batch_endpoint(parts, guard, calls),
        methods=["POST"],
        summary="Index photos of one session",
        response_model=BatchAnswer,
        response_description="What became of each photo",
        responses={
            200: {"content": {EVENTS: {"schema": {"type": "string"}, "example": _EVENTS_EXAMPLE}}},
            **documented(*BATCH_ERRORS),
        },
        openapi_extra=batch_body(),
    )
    router.add_api_route(
        "/index/{session_id:segment}/photos/{photo_id:segment}",
        delete_photo_endpoint(parts, guard, calls),
        methods=["DELETE"],
        summary="Delete one photo",
        response_model=DeletionAnswer,
        response_description="Deleted, and no serving process can answer with it any more",
        responses=documented(*DELETION_ERRORS),
    )
    router.add_api_route(
        "/index/{session_id:segment}",
        delete_session_endpoint(parts, guard, calls),
        methods=["DELETE"],
        summary="Delete all photos of a session",
        response_model=DeletionAnswer,
        response_description="Deleted, and no serving process can answer with it any more",
        responses=documented(*DELETION_ERRORS),
    )
    return router


_EVENTS_EXAMPLE = """event: progress
data: {"indexed":117,"failed":0,"no_face":2,"pending":1}

: still waiting

event: result
data: {"indexed":118,"failed":0,"errors":[],"no_face":2,"pending":0,"revision":12}

"""
