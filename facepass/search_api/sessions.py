"""GET /search/status/{session_id}."""

from collections.abc import Awaitable, Callable

import structlog
from fastapi import APIRouter, Response

from facepass.schemas.errors import ErrorCode
from facepass.schemas.http import SessionStatus
from facepass.schemas.ids import SessionIdField
from facepass.search_api.access.guard import Guard
from facepass.search_api.errors import documented
from facepass.search_api.parts import Parts
from facepass.search_api.paths import SessionInPath
from facepass.storage.writes import read_counts

STATUS_ERRORS = (ErrorCode.INVALID_ID, ErrorCode.INTERNAL, ErrorCode.DATABASE_UNAVAILABLE)


def session_routes(parts: Parts, guard: Guard) -> APIRouter:
    """The routes about one session."""
    del guard
    router = APIRouter(tags=["search"])
    router.add_api_route(
        "/search/status/{session_id:rest}",
        status_endpoint(parts),
        methods=["GET"],
        summary="How far a session is indexed",
        response_model=SessionStatus,
        response_description="What is known of the session; zeros for an unknown one",
        responses=documented(*STATUS_ERRORS),
    )
    return router


def status_endpoint(parts: Parts) -> Callable[[SessionIdField], Awaitable[Response]]:
    """What is known of a session, from the database; zeros for one that is not known."""

    async def status(session_id: SessionInPath) -> Response:
        structlog.contextvars.bind_contextvars(session_id=session_id)
        counts = await read_counts(parts.database, parts.generation, session_id)
        body = SessionStatus(
            session_id=session_id,
            indexed=counts.photo_count > 0,
            photo_count=counts.photo_count,
            face_count=counts.face_count,
            last_indexed=counts.last_indexed,
            pending=counts.pending,
            failed=counts.failed,
            no_face=counts.no_face,
            revision=counts.revision,
        )
        return Response(body.model_dump_json(), media_type="application/json")

    return status
