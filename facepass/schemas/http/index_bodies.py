"""The bodies of the calls that index and delete."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, StrictStr

from facepass.schemas.errors import ErrorCode
from facepass.schemas.http.body import AnswerModel, Count, Id, RequestModel
from facepass.schemas.ids import PhotoIdField, SessionIdField

MAX_BATCH_PHOTOS = 2000
"""Pixora's guide advises 100 to 300; its own examples send a whole session."""


S3Key = Annotated[
    StrictStr,
    Field(description="the photo's key in the photo store: relative, without `..`, no URL, at most 1024 bytes"),
]


class PhotoToUpload(RequestModel):
    """The photo that an uploaded image is. An id may be an integer, which means its decimal string."""

    photo_id: PhotoIdField
    session_id: SessionIdField


class PhotoToIndex(PhotoToUpload):
    """One photo in the photo store."""

    s3_key: S3Key

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "photo_id": "8f14e45f-ceea-467f-9d3c-5f5b6c1a0d11",
                    "session_id": "wedding-2026-05-09",
                    "s3_key": "sessions/wedding-2026-05-09/0001.jpg",
                }
            ]
        }
    )


class BatchPhoto(RequestModel):
    """One photo of a batch."""

    photo_id: PhotoIdField
    s3_key: S3Key


class BatchToIndex(RequestModel):
    """Photos of one session. Of a photo that is listed twice the last key counts."""

    session_id: SessionIdField
    photos: list[BatchPhoto] = Field(min_length=1, max_length=MAX_BATCH_PHOTOS)

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "session_id": "wedding-2026-05-09",
                    "photos": [{"photo_id": "1001", "s3_key": "sessions/wedding-2026-05-09/0001.jpg"}],
                }
            ]
        }
    )


class IndexAnswer(AnswerModel):
    """An indexed photo."""

    indexed: Literal[True]
    photo_id: Id
    confidence: float = Field(ge=0, le=1, description="the detector's score of the most confident face")
    faces_detected: Annotated[int, Field(ge=1, description="with faces too poor to search for")]
    revision: Count = Field(description="of the session; a search with this `min_revision` sees the photo")

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "indexed": True,
                    "photo_id": "8f14e45f-ceea-467f-9d3c-5f5b6c1a0d11",
                    "confidence": 0.9412,
                    "faces_detected": 4,
                    "revision": 12,
                }
            ]
        }
    )


class IndexPending(AnswerModel):
    """A photo that was accepted and is not indexed yet; the work goes on."""

    indexed: Literal[False]
    photo_id: Id
    code: Literal[ErrorCode.PENDING]
    status_url: str = Field(description="where to look; the same as the header Location")

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "indexed": False,
                    "photo_id": "8f14e45f-ceea-467f-9d3c-5f5b6c1a0d11",
                    "code": "pending",
                    "status_url": "/api/v1/search/status/wedding-2026-05-09",
                }
            ]
        }
    )


class BatchError(AnswerModel):
    """The reason why a photo of a batch is not indexed."""

    photo_id: Id
    code: ErrorCode = Field(description="for programs")
    message: str = Field(description="for people")


class BatchAnswer(AnswerModel):
    """The outcome of a batch: `indexed`, `failed` and `no_face` add up to the photos sent."""

    indexed: Count = Field(description="also those that were indexed before and are unchanged")
    failed: Count = Field(description="with those still pending: the session is complete only if this is 0")
    errors: list[BatchError] = Field(description="one for each failed photo")
    no_face: Count = Field(description="photos without a face, or with none good enough; to repeat is no use")
    pending: Count = Field(description="of those failed: not known in time, the work goes on")
    revision: Count = Field(description="of the session; a search with this `min_revision` sees these photos")

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "indexed": 117,
                    "failed": 1,
                    "errors": [
                        {
                            "photo_id": "1042",
                            "code": "photo_not_found",
                            "message": "the photo store has no object of this s3_key",
                        }
                    ],
                    "no_face": 2,
                    "pending": 0,
                    "revision": 12,
                }
            ]
        }
    )


class BatchProgress(AnswerModel):
    """The progress of a batch: the four add up to the photos sent."""

    indexed: Count
    failed: Count
    no_face: Count
    pending: Count


class DeletionAnswer(AnswerModel):
    """The receipt of a deletion that no serving process can show any more."""

    deleted: Literal[True]
    embeddings_removed: Count
    photos_removed: Count = Field(description="of the session; 1 or 0 for a single photo")
    session_id: Id
    photo_id: Id | None = Field(description="null: the whole session")
    fence: datetime = Field(description="nothing that happened up to this time comes back")
    applied_at: datetime = Field(description="when the embeddings were removed")
    acknowledged_at: datetime = Field(description="when no serving process could answer with them any more")
    uploads_pending: Count = Field(
        description="photos that came by HTTP and are still in the photo store; FacePass goes on removing them"
    )

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "deleted": True,
                    "embeddings_removed": 918,
                    "photos_removed": 243,
                    "session_id": "wedding-2026-05-09",
                    "photo_id": None,
                    "fence": "2026-05-12T09:00:00.120000Z",
                    "applied_at": "2026-05-12T09:00:00.191000Z",
                    "acknowledged_at": "2026-05-12T09:00:01.204000Z",
                    "uploads_pending": 0,
                }
            ]
        }
    )
