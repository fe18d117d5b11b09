"""The routes about one session: its status, whether guests may use it, and its photos."""

import structlog
from fastapi import APIRouter, Depends, Request, Response

from facepass.schemas.callers import Scope
from facepass.schemas.errors import ErrorCode
from facepass.schemas.http.body import ErrorBody
from facepass.schemas.http.session_bodies import (
    FacepassStatus,
    PhotoList,
    SessionBody,
    SessionStatus,
    SessionValidation,
)
from facepass.search_api.access import ADMISSION_ERRORS, GUEST_ERRORS, KEY_ERRORS, Guard
from facepass.search_api.http import SessionInPath, documented
from facepass.search_api.parts import Parts
from facepass.search_api.sessions.photo_list import photos_endpoint
from facepass.search_api.sessions.session_info import (
    Endpoint,
    facepass_status_endpoint,
    info_endpoint,
    validate_endpoint,
)
from facepass.storage.writes import read_counts

READ_ERRORS = (ErrorCode.INVALID_ID, ErrorCode.INTERNAL, ErrorCode.DATABASE_UNAVAILABLE)
"""What every route about a session may answer."""


def session_routes(parts: Parts, guard: Guard) -> APIRouter:
    """The routes about one session. All but the list of photos are the guests' too.

    A session whose id is `validate` has a name that the routes need themselves: what begins with
    `/sessions/validate/` validates.
    """
    router = APIRouter(tags=["sessions"])
    _add_validation(router, parts, guard)
    _add_info(router, parts, guard)
    _add_photos(router, parts, guard)
    router.add_api_route(
        "/search/status/{session_id:rest}",
        status_endpoint(parts, guard),
        methods=["GET"],
        summary="How far a session is indexed",
        response_model=SessionStatus,
        response_description="What is known of the session; zeros for an unknown one",
        responses=documented(*GUEST_ERRORS, *READ_ERRORS),
        tags=["search"],
        dependencies=[Depends(guard.guest())],
    )
    return router


def _add_validation(router: APIRouter, parts: Parts, guard: Guard) -> None:
    router.add_api_route(
        "/sessions/validate/{session_id:segment}",
        validate_endpoint(parts, guard),
        methods=["GET"],
        summary="Whether guests may use a session",
        response_model=SessionValidation,
        response_description="They may",
        responses={
            **documented(*GUEST_ERRORS, *READ_ERRORS),
            403: {
                "model": SessionValidation | ErrorBody,
                "description": "FacePass is switched off, or it was never announced; `scope_required`",
            },
            404: {"model": SessionValidation, "description": "nothing is known of it, or it was deleted"},
        },
        dependencies=[Depends(guard.guest())],
    )


def _add_info(router: APIRouter, parts: Parts, guard: Guard) -> None:
    router.add_api_route(
        "/sessions/{session_id:segment}/facepass-status",
        facepass_status_endpoint(parts, guard),
        methods=["GET"],
        summary="Whether FacePass is on for a session",
        response_model=FacepassStatus,
        response_description="The status, also of a session for which FacePass is off",
        responses=documented(ErrorCode.SESSION_NOT_FOUND, *GUEST_ERRORS, *READ_ERRORS),
        dependencies=[Depends(guard.guest())],
    )
    router.add_api_route(
        "/sessions/{session_id:segment}",
        info_endpoint(parts, guard),
        methods=["GET"],
        summary="What is known of a session that guests may use",
        response_model=SessionBody,
        response_description="The session",
        responses=documented(*ADMISSION_ERRORS, *GUEST_ERRORS, *READ_ERRORS),
        dependencies=[Depends(guard.guest())],
    )


def _add_photos(router: APIRouter, parts: Parts, guard: Guard) -> None:
    router.add_api_route(
        "/sessions/{session_id:segment}/photos",
        photos_endpoint(parts),
        methods=["GET"],
        summary="A session's photos: their states, and why some failed",
        response_model=PhotoList,
        response_description="One page, in the order of the photos' ids",
        responses=documented(ErrorCode.SESSION_NOT_FOUND, ErrorCode.INVALID_PARAMETER, *KEY_ERRORS, *READ_ERRORS),
        dependencies=[Depends(guard.key(Scope.READ))],
    )


def status_endpoint(parts: Parts, guard: Guard) -> Endpoint:
    """What is known of a session, from the database; zeros for one that is not known."""

    async def status(request: Request, session_id: SessionInPath) -> Response:
        structlog.contextvars.bind_contextvars(session_id=session_id)
        await guard.check_guest(request, session_id)
        counts = await read_counts(parts.store, session_id)
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
