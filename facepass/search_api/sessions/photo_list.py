"""GET /sessions/{session_id}/photos: which photos of a session failed, wait or were left out, and why."""

from typing import Annotated

import structlog
from fastapi import APIRouter, Depends, Query, Response

from facepass.schemas.callers import Scope
from facepass.schemas.error_table import photo_message
from facepass.schemas.errors import ErrorCode, PermanentError
from facepass.schemas.http.session_bodies import PhotoList, PhotoListParameters
from facepass.search_api.access import KEY_ERRORS, Guard
from facepass.search_api.http import SessionInPath, documented, json_answer
from facepass.search_api.sessions.session_info import READ_ERRORS
from facepass.storage import Store
from facepass.storage.reads import PhotoRow, list_photos


def add_photo_list(router: APIRouter, store: Store, guard: Guard) -> None:
    """Add the list of a session's photos, a page a call.

    For operators, so a session that is switched off, or of which a deletion left only fences, has its list too;
    only one of which nothing was ever heard is not found.
    """

    @router.get(
        "/sessions/{session_id:segment}/photos",
        summary="A session's photos: their states, and why some failed",
        response_model=PhotoList,
        response_description="One page, in the order of the photos' ids",
        responses=documented(ErrorCode.SESSION_NOT_FOUND, ErrorCode.INVALID_PARAMETER, *KEY_ERRORS, *READ_ERRORS),
        dependencies=[Depends(guard.key(Scope.READ))],
    )
    async def photos(session_id: SessionInPath, page: Annotated[PhotoListParameters, Query()]) -> Response:
        structlog.contextvars.bind_contextvars(session_id=session_id)
        found = await list_photos(
            store,
            session_id,
            states=page.state,
            after=page.cursor,
            limit=page.limit + 1,  # one more says whether there is another page
        )
        if found is None:
            raise PermanentError(ErrorCode.SESSION_NOT_FOUND, "nothing was ever heard of this session")
        shown = found[: page.limit]
        cursor = shown[-1].photo_id if len(found) > page.limit else None
        return json_answer(
            PhotoList.model_validate({"photos": [_photo(photo) for photo in shown], "next_cursor": cursor})
        )


def _photo(photo: PhotoRow) -> dict[str, object]:
    return {
        "photo_id": photo.photo_id,
        "state": photo.state,
        "error": photo.error and {"code": photo.error, "message": photo_message(photo.error)},
        "attempts": photo.attempts,
        "next_attempt_at": photo.next_attempt_at,
        "faces": photo.faces_stored,
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
