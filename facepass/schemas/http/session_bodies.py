"""The bodies about one session: how far it is indexed, what it is, whether it may be used, and its photos."""

from datetime import datetime
from typing import Annotated

from pydantic import ConfigDict, Field
from pydantic.config import JsonDict

from facepass.schemas.faces import LeftOutReason
from facepass.schemas.http.body import AnswerModel, BoxBody, Count, Id, RequestModel
from facepass.schemas.ids import PhotoIdField
from facepass.schemas.ledger import PhotoState

MAX_PHOTOS_LISTED = 1000
"""Photos on one page at most: about half a megabyte of JSON."""

_SESSION: JsonDict = {
    "id": "wedding-2026-05-09",
    "name": "Anna and Boris",
    "studio_id": "17",
    "facepass_enabled": True,
    "photo_count": 230,
    "face_count": 918,
    "last_indexed": "2026-05-09T18:30:04.512000Z",
    "revision": 12,
}


class SessionStatus(AnswerModel):
    """The known state of a session; zeros for one that is not known."""

    session_id: Id
    indexed: bool = Field(description="whether `photo_count` is above 0")
    photo_count: Count = Field(description="photos with at least one stored face")
    face_count: Count = Field(description="stored faces")
    last_indexed: datetime | None = Field(description="when a photo was last indexed; null: never")
    pending: Count = Field(description="photos that are still being indexed")
    failed: Count = Field(description="photos that could not be indexed")
    no_face: Count = Field(description="photos on which no face was found")
    revision: Count = Field(description="rises with every change; for `min_revision` of a search")

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "session_id": "wedding-2026-05-09",
                    "indexed": True,
                    "photo_count": 230,
                    "face_count": 918,
                    "last_indexed": "2026-05-09T18:30:04.512000Z",
                    "pending": 0,
                    "failed": 1,
                    "no_face": 12,
                    "revision": 12,
                }
            ]
        }
    )


class SessionBody(AnswerModel):
    """A session that guests may use."""

    id: Id = Field(description="always a string; an integer of Pixora's is its decimal string")
    name: str | None = Field(description="as session-updated said; null: it said none, or never came")
    studio_id: str | None = Field(description="the same")
    facepass_enabled: bool = Field(description="whether guests may search it; true, or this answer were a 403")
    photo_count: Count = Field(description="photos with at least one stored face")
    face_count: Count = Field(description="stored faces")
    last_indexed: datetime | None = Field(description="when a photo was last indexed; null: never")
    revision: Count = Field(description="rises with every change; for `min_revision` of a search")

    model_config = ConfigDict(json_schema_extra={"examples": [_SESSION]})


class SessionValidation(AnswerModel):
    """The answer to whether guests may use a session; the same body with status 200, 403 and 404."""

    valid: bool
    error: str | None = Field(description="for people: why not; null when valid")
    session: SessionBody | None = Field(description="null when not valid")

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"valid": True, "error": None, "session": _SESSION},
                {"valid": False, "error": "FacePass is switched off for this session", "session": None},
            ]
        }
    )


class FacepassStatus(AnswerModel):
    """The state of FacePass for a session: whether it is on, and how far the session is indexed."""

    facepass_enabled: bool = Field(description="whether guests may search it")
    indexed: bool = Field(description="whether `photo_count` is above 0")
    photo_count: Count = Field(description="photos with at least one stored face")
    pending: Count = Field(description="photos that are still being indexed")

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"facepass_enabled": True, "indexed": True, "photo_count": 230, "pending": 18}]
        }
    )


class PhotoErrorBody(AnswerModel):
    """The reason why a photo could not be indexed."""

    code: str = Field(description="for programs")
    message: str = Field(description="for people: what is wrong and what to do")


class LeftOutFaceBody(AnswerModel):
    """A face that was found but is not good enough to search for."""

    reason: LeftOutReason
    confidence: float = Field(ge=0, le=1, description="the detector's score")
    box: BoxBody


class PhotoBody(AnswerModel):
    """One photo of a session, as operators see it."""

    photo_id: Id
    state: PhotoState
    error: PhotoErrorBody | None = Field(description="of the last failure; null: none")
    attempts: Count = Field(description="how often it was tried for its newest event")
    next_attempt_at: datetime | None = Field(description="when a pending photo is taken up at the latest")
    faces: Count = Field(description="stored faces; of a pending photo those of an older event")
    faces_detected: Count = Field(description="with those that were left out")
    left_out: list[LeftOutFaceBody] = Field(description="faces that were found but do not count, and why")
    occurred_at: datetime | None = Field(description="of the event it rests on; null: only its deletion was seen")
    s3_key: str | None = Field(description="its key in the photo store; null: deleted")


class PhotoList(AnswerModel):
    """A page of a session's photos, in the order of their ids' bytes."""

    photos: list[PhotoBody] = Field(max_length=MAX_PHOTOS_LISTED)
    next_cursor: Id | None = Field(description="`cursor` of the next page; null: this is the last")

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "photos": [
                        {
                            "photo_id": "8f14e45f-ceea-467f-9d3c-5f5b6c1a0d11",
                            "state": "failed",
                            "error": {
                                "code": "photo_not_found",
                                "message": "the photo store has no object of this s3_key; upload the photo, then"
                                " publish or index it again",
                            },
                            "attempts": 1,
                            "next_attempt_at": None,
                            "faces": 0,
                            "faces_detected": 0,
                            "left_out": [],
                            "occurred_at": "2026-05-09T12:30:00Z",
                            "s3_key": "sessions/wedding-2026-05-09/0001.jpg",
                        },
                        {
                            "photo_id": "90210",
                            "state": "indexed",
                            "error": None,
                            "attempts": 1,
                            "next_attempt_at": None,
                            "faces": 2,
                            "faces_detected": 3,
                            "left_out": [
                                {
                                    "reason": "too_small",
                                    "confidence": 0.71,
                                    "box": {"x": 12.0, "y": 240.5, "width": 9.5, "height": 11.0},
                                }
                            ],
                            "occurred_at": "2026-05-09T12:31:00Z",
                            "s3_key": "sessions/wedding-2026-05-09/0002.jpg",
                        },
                    ],
                    "next_cursor": None,
                }
            ]
        }
    )


class PhotoListParameters(RequestModel):
    """The parameters to page through a session's photos."""

    state: list[PhotoState] = Field(
        default=[], description="only photos in one of these; all of them if not given"
    )
    cursor: PhotoIdField | None = Field(
        default=None, description="photos after this id; the `next_cursor` of the page before"
    )
    limit: Annotated[int, Field(ge=1, le=MAX_PHOTOS_LISTED)] = 100
