"""The routes on one session: what it is, whether guests may use it, and how far it is indexed."""

from typing import Annotated

import structlog
from fastapi import APIRouter, Depends, Response

from facepass.schemas.error_table import ERROR_TABLE
from facepass.schemas.errors import ErrorCode
from facepass.schemas.http.body import ErrorBody
from facepass.schemas.http.session_bodies import FacepassStatus, SessionBody, SessionStatus, SessionValidation
from facepass.schemas.ids import SessionId
from facepass.search_api.access import ADMISSION_ERRORS, GUEST_ERRORS, GuestDoor
from facepass.search_api.http import documented, json_answer
from facepass.storage import Store
from facepass.storage.reads import SessionRow, read_counts

READ_ERRORS = (ErrorCode.INVALID_ID, ErrorCode.INTERNAL, ErrorCode.DATABASE_UNAVAILABLE)
"""What every route about a session may answer."""


def add_validation(router: APIRouter, door: GuestDoor) -> None:
    """Add the route on whether guests may use a session: one body for yes and no, as Pixora's page expects.

    What is known of a session that they may not use is not told.
    """

    @router.get(
        "/sessions/validate/{session_id:segment}",
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
    )
    async def validate(session_id: Annotated[SessionId, Depends(door.in_path())]) -> Response:
        session, refused = await door.look_up(session_id)
        if refused is None:
            return json_answer(SessionValidation(valid=True, error=None, session=_body(session)))
        structlog.contextvars.bind_contextvars(code=str(refused.code))
        body = SessionValidation(valid=False, error=refused.message, session=None)
        return json_answer(body, ERROR_TABLE[refused.code].status)


def add_facepass_status(router: APIRouter, door: GuestDoor) -> None:
    """Add the route on whether FacePass is on for a session, and how far it is indexed; also when it is off."""

    @router.get(
        "/sessions/{session_id:segment}/facepass-status",
        summary="Whether FacePass is on for a session",
        response_model=FacepassStatus,
        response_description="The status, also of a session for which FacePass is off",
        responses=documented(ErrorCode.SESSION_NOT_FOUND, *GUEST_ERRORS, *READ_ERRORS),
    )
    async def facepass_status(session_id: Annotated[SessionId, Depends(door.in_path())]) -> Response:
        session, refused = await door.look_up(session_id)
        if refused is not None and refused.code is ErrorCode.SESSION_NOT_FOUND:
            raise refused
        return json_answer(
            FacepassStatus(
                facepass_enabled=refused is None,
                indexed=session.photo_count > 0,
                photo_count=session.photo_count,
                pending=session.pending,
            )
        )


def add_info(router: APIRouter, door: GuestDoor) -> None:
    """Add the route of a session that guests may use; see `GuestDoor.refusal_by` for those that they may not."""

    @router.get(
        "/sessions/{session_id:segment}",
        summary="What is known of a session that guests may use",
        response_model=SessionBody,
        response_description="The session",
        responses=documented(*ADMISSION_ERRORS, *GUEST_ERRORS, *READ_ERRORS),
    )
    async def info(session_id: Annotated[SessionId, Depends(door.in_path())]) -> Response:
        session, refused = await door.look_up(session_id)
        if refused is not None:
            raise refused
        return json_answer(_body(session))


def add_status(router: APIRouter, store: Store, door: GuestDoor) -> None:
    """Add the route of a session's counts, from the database; zeros for one that is not known."""

    @router.get(
        "/search/status/{session_id:rest}",
        summary="How far a session is indexed",
        response_model=SessionStatus,
        response_description="What is known of the session; zeros for an unknown one",
        responses=documented(*GUEST_ERRORS, *READ_ERRORS),
        tags=["search"],
    )
    async def status(session_id: Annotated[SessionId, Depends(door.in_path())]) -> Response:
        counts = await read_counts(store, session_id)
        return json_answer(
            SessionStatus(
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
        )


def _body(session: SessionRow) -> SessionBody:
    return SessionBody(
        id=session.session_id,
        name=session.name,
        studio_id=session.studio_id,
        facepass_enabled=True,
        photo_count=session.photo_count,
        face_count=session.face_count,
        last_indexed=session.last_indexed,
        revision=session.revision,
    )
