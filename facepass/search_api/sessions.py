"""GET /search/status/{session_id}, and session ids in a URL."""

from collections.abc import Awaitable, Callable
from typing import Annotated
from urllib.parse import unquote_to_bytes

import structlog
from fastapi import Path, Request, Response
from starlette.convertors import Convertor, register_url_convertor

from facepass.schemas.errors import ErrorCode, PermanentError
from facepass.schemas.http import SessionStatus
from facepass.schemas.ids import SessionIdField
from facepass.search_api.parts import Parts
from facepass.storage.writes import read_counts


class _RestOfPath(Convertor[str]):
    """Everything to the end of the path, line breaks too.

    Starlette's own `path` stops at a line break, and takes `a` and `a` with a line break behind for the same id.
    """

    regex = r"[\s\S]*"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


register_url_convertor("rest", _RestOfPath())

SessionInPath = Annotated[
    SessionIdField,
    Path(
        description="percent-encoded where it needs to be; may hold slashes",
        openapi_examples={"text": {"value": "wedding-2026-05-09"}, "number": {"value": "4711"}},
    ),
]


def status_endpoint(parts: Parts) -> Callable[[Request, SessionIdField], Awaitable[Response]]:
    """What is known of a session, from the database; zeros for one that is not known."""

    async def status(request: Request, session_id: SessionInPath) -> Response:
        check_encoding(request)
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


def check_encoding(request: Request) -> None:
    """Refuse a path whose bytes are not UTF-8: decoded leniently, it would name another session.

    Raises:
        PermanentError: `invalid_id`.
    """
    try:
        unquote_to_bytes(request.scope.get("raw_path") or b"").decode()
    except UnicodeDecodeError as exc:
        raise PermanentError(
            ErrorCode.INVALID_ID, "session_id: the path is not valid UTF-8", field="session_id"
        ) from exc
