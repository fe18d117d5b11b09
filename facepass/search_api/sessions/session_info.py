"""What a session is and whether guests may use it: info, validation, FacePass status."""

from collections.abc import Awaitable, Callable

import structlog
from fastapi import Request, Response
from pydantic import BaseModel

from facepass.schemas.error_table import ERROR_TABLE
from facepass.schemas.errors import ErrorCode, PermanentError
from facepass.schemas.http.session_bodies import FacepassStatus, SessionBody, SessionValidation
from facepass.schemas.ids import SessionId, SessionIdField
from facepass.search_api.access import Guard, refusal
from facepass.search_api.http import SessionInPath
from facepass.search_api.parts import Parts
from facepass.storage.reads import Session, look_up_session

Endpoint = Callable[[Request, SessionIdField], Awaitable[Response]]


def info_endpoint(parts: Parts, guard: Guard) -> Endpoint:
    """What is known of a session that guests may use; see `admission.refusal` for those that they may not."""

    async def info(request: Request, session_id: SessionInPath) -> Response:
        session, refused = await _look_up(parts, guard, request, session_id)
        if refused is not None:
            raise refused
        return _answer(_body(session))

    return info


def validate_endpoint(parts: Parts, guard: Guard) -> Endpoint:
    """Whether guests may use a session: the same body whether they may or not, as Pixora's page expects.

    What is known of a session that they may not use is not told.
    """

    async def validate(request: Request, session_id: SessionInPath) -> Response:
        session, refused = await _look_up(parts, guard, request, session_id)
        if refused is None:
            return _answer(SessionValidation(valid=True, error=None, session=_body(session)))
        structlog.contextvars.bind_contextvars(code=str(refused.code))
        body = SessionValidation(valid=False, error=refused.message, session=None)
        return _answer(body, ERROR_TABLE[refused.code].status)

    return validate


def facepass_status_endpoint(parts: Parts, guard: Guard) -> Endpoint:
    """Whether FacePass is on for a session, and how far it is indexed; also when it is off."""

    async def facepass_status(request: Request, session_id: SessionInPath) -> Response:
        session, refused = await _look_up(parts, guard, request, session_id)
        if refused is not None and refused.code is ErrorCode.SESSION_NOT_FOUND:
            raise refused
        counts = session.counts
        return _answer(
            FacepassStatus(
                facepass_enabled=refused is None,
                indexed=counts.photo_count > 0,
                photo_count=counts.photo_count,
                pending=counts.pending,
            )
        )

    return facepass_status


async def _look_up(
    parts: Parts, guard: Guard, request: Request, session_id: SessionId
) -> tuple[Session, PermanentError | None]:
    """The session, and why guests may not use it."""
    structlog.contextvars.bind_contextvars(session_id=session_id)
    await guard.check_guest(request, session_id)
    session = await look_up_session(parts.store, session_id)
    return session, refusal(session.counts, parts.access.unannounced)


def _body(session: Session) -> SessionBody:
    counts = session.counts
    return SessionBody(
        id=counts.session_id,
        name=session.name,
        studio_id=session.studio_id,
        facepass_enabled=True,
        photo_count=counts.photo_count,
        face_count=counts.face_count,
        last_indexed=counts.last_indexed,
        revision=counts.revision,
    )


def _answer(body: BaseModel, status: int = 200) -> Response:
    return Response(body.model_dump_json(), status_code=status, media_type="application/json")
