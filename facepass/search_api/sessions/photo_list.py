"""GET /sessions/{session_id}/photos: which photos of a session failed, wait or were left out, and why."""

from collections.abc import Awaitable, Callable
from typing import Annotated

import structlog
from fastapi import Query, Response

from facepass.schemas.error_table import photo_message
from facepass.schemas.errors import ErrorCode, PermanentError
from facepass.schemas.http.session_bodies import PhotoList, PhotoListParameters
from facepass.schemas.ids import SessionIdField
from facepass.search_api.http import SessionInPath
from facepass.search_api.parts import Parts
from facepass.storage.reads import ListedPhoto, list_photos

Endpoint = Callable[[SessionIdField, PhotoListParameters], Awaitable[Response]]


def photos_endpoint(parts: Parts) -> Endpoint:
    """One page of a session's photos.

    For operators, so a session that is switched off, or of which a deletion left only fences, has its list too;
    only one of which nothing was ever heard is not found.
    """

    async def photos(session_id: SessionInPath, page: Annotated[PhotoListParameters, Query()]) -> Response:
        structlog.contextvars.bind_contextvars(session_id=session_id)
        found = await list_photos(
            parts.store,
            session_id,
            states=page.state,
            after=page.cursor,
            limit=page.limit + 1,  # one more says whether there is another page
        )
        if found is None:
            raise PermanentError(ErrorCode.SESSION_NOT_FOUND, "nothing was ever heard of this session")
        shown = found[: page.limit]
        more = len(found) > page.limit
        body = PhotoList.model_validate(
            {"photos": [_photo(photo) for photo in shown], "next_cursor": shown[-1].photo_id if more else None}
        )
        return Response(body.model_dump_json(), media_type="application/json")

    return photos


def _photo(photo: ListedPhoto) -> dict[str, object]:
    return {
        "photo_id": photo.photo_id,
        "state": photo.state,
        "error": photo.error and {"code": photo.error, "message": photo_message(photo.error)},
        "attempts": photo.attempts,
        "next_attempt_at": photo.next_attempt_at,
        "faces": photo.faces,
        "faces_detected": photo.faces_detected,
        "left_out": [
            {
                "reason": face.reason,
                "confidence": face.confidence,
                "box": {"x": face.box.x, "y": face.box.y, "width": face.box.width, "height": face.box.height},
            }
            for face in photo.left_out
        ],
        "occurred_at": photo.occurred_at,
        "s3_key": photo.s3_key,
    }
