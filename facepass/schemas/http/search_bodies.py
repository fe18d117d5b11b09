"""The bodies of the HTTP API: what a search takes, what each route answers, and the one shape of errors.

Answers forbid fields that are not declared here: nothing else of Pixora's or of ours ever leaves.
"""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from facepass.schemas.errors import ErrorCode
from facepass.schemas.ids import MAX_ID_CHARACTERS, SessionIdField
from facepass.schemas.similarity import DEFAULT_THRESHOLD

MAX_MATCHES = 1000
"""Photos in one answer at most, and the default: Pixora's client shows all photos of a guest."""

MAX_SELFIES = 5
"""Of one search. More hardly tell more of the same person, and each takes a search's time."""

MAX_WAIT_MS = 10_000
"""A longer wait would hold a search's slot and the guest's connection for nothing."""

_MAX_REVISION = 2**53 - 1
"""The largest integer that every JSON reader keeps exact; no session changes that often."""


class _Body(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


Count = Annotated[int, Field(ge=0)]
Id = Annotated[str, Field(min_length=1, max_length=MAX_ID_CHARACTERS)]
"""An id in an answer: it comes from the database, where only valid ones are."""


class ErrorBody(_Body):
    """Every answer with a status of 400 or more (but `/health` and `/ready`, whose bodies say what is wrong)."""

    code: ErrorCode = Field(description="for programs")
    message: str = Field(description="for people: what went wrong and what to do")
    details: dict[str, str | int | float | None] = Field(
        description="values that belong to the message; may be empty"
    )


class SearchParameters(BaseModel):
    """The fields of a search beside the selfie."""

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    session_id: SessionIdField = Field(description="the session to search in")
    threshold: float = Field(
        default=DEFAULT_THRESHOLD,
        ge=0,
        le=1,
        description="least similarity of a match; 0.7 is every model's own operating point",
    )
    limit: int = Field(default=MAX_MATCHES, ge=1, le=MAX_MATCHES, description="photos in the answer at most")
    min_revision: int = Field(
        default=0,
        ge=0,
        le=_MAX_REVISION,
        description="the session's revision that the answer should reflect, as an earlier answer named it",
    )
    wait_ms: int = Field(
        default=0,
        ge=0,
        le=MAX_WAIT_MS,
        description="how long to wait for `min_revision`; after that `freshness.behind` says what is missing",
    )


class BoxBody(_Body):
    """A rectangle in pixels of the photo at its full size, turned upright; may reach over the photo's edge."""

    x: float
    y: float
    width: float
    height: float


class MatchBody(_Body):
    """One photo with the person of the selfie."""

    photo_id: Id
    similarity: float = Field(ge=0, le=1, description="0 to 1, the same scale for every model")
    cosine: float = Field(ge=-1, le=1, description="raw cosine of the two embeddings")
    confidence: float = Field(ge=0, le=1, description="the detector's score of the matched face")
    box: BoxBody = Field(description="the matched face")


class WarningCode(StrEnum):
    """What could be better about a selfie that was searched with, or why one of several was left out."""

    NO_FACE = "no_face"
    OUTLIER = "outlier"
    SEVERAL_FACES = "several_faces"
    TOO_SMALL = "too_small"
    BLURRED = "blurred"
    TOO_DARK = "too_dark"
    TURNED_AWAY = "turned_away"


class WarningBody(_Body):
    """What a guest could do better: the answer stands, but another selfie may find more."""

    code: WarningCode = Field(
        description="for programs; `no_face` and `outlier` (somebody else's) were left out of several selfies"
    )
    message: str = Field(description="for people: what is wrong and what to do")
    selfie: int = Field(ge=0, lt=MAX_SELFIES, description="which selfie, in the order sent, from 0")
    box: BoxBody | None = Field(description="the face in question, in pixels of the selfie; null: there is none")


class FreshnessBody(_Body):
    """How much of the session the answer rests on."""

    revision: Count = Field(description="of the session, as searched")
    indexed_photos: Count = Field(description="photos with at least one face, as searched")
    pending: Count = Field(description="photos that are still being indexed")
    failed: Count = Field(description="photos that could not be indexed")
    poll_age_ms: Count = Field(description="time since the database was last asked what changed")
    complete: bool = Field(
        description="nothing is pending, nothing is missing, and that is known of the last 10 s"
    )
    behind: Count = Field(description="revisions that are known of but not searched yet")


class SearchAnswer(_Body):
    """The matches, best first."""

    matches: list[MatchBody] = Field(max_length=MAX_MATCHES)
    total_matches: Count = Field(description="photos at or above the threshold, before the limit")
    query_time_ms: float = Field(ge=0, description="from the complete upload to the ranked photos")
    faces_in_selfie: int = Field(
        ge=1, description="the largest was used; of several selfies, in the one with the most faces"
    )
    warnings: list[WarningBody] = Field(description="what would make a better selfie; empty: nothing")
    freshness: FreshnessBody

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "matches": [
                        {
                            "photo_id": "8f14e45f-ceea-467f-9d3c-5f5b6c1a0d11",
                            "similarity": 0.8631,
                            "cosine": 0.7078,
                            "confidence": 0.9412,
                            "box": {"x": 812.5, "y": 240.0, "width": 96.25, "height": 121.5},
                        }
                    ],
                    "total_matches": 1,
                    "query_time_ms": 38.2,
                    "faces_in_selfie": 2,
                    "warnings": [
                        {
                            "code": "several_faces",
                            "message": "there are several faces in this selfie, and the largest was used; take"
                            " one of yourself alone",
                            "selfie": 0,
                            "box": {"x": 402.0, "y": 310.5, "width": 380.0, "height": 461.0},
                        }
                    ],
                    "freshness": {
                        "revision": 12,
                        "indexed_photos": 230,
                        "pending": 0,
                        "failed": 1,
                        "poll_age_ms": 410,
                        "complete": True,
                        "behind": 0,
                    },
                }
            ]
        }
    )


class SessionStatus(_Body):
    """What is known of a session; zeros for one that is not."""

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


class HealthAnswer(_Body):
    """Whether this process works. Without the broker searches still do, so that alone is `degraded`."""

    status: Literal["healthy", "degraded", "unhealthy"] = Field(description="unhealthy comes with status 503")
    database: Literal["connected", "unavailable"]
    face_recognition_model: str = Field(description="the loaded model pack")
    broker: Literal["connected", "unavailable"]
    version: str = Field(description="of FacePass")
    uptime_seconds: float = Field(ge=0)

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "status": "healthy",
                    "database": "connected",
                    "face_recognition_model": "starter",
                    "broker": "connected",
                    "version": "0.1.0",
                    "uptime_seconds": 86400.5,
                }
            ]
        }
    )


class ReadyAnswer(_Body):
    """Whether this process may answer searches now."""

    status: Literal["ready", "not_ready"] = Field(description="not_ready comes with status 503")
    lease: bool = Field(description="deletions are seen recently enough to answer")
    face_recognition_model: bool = Field(description="the model pack is loaded")
    database: bool = Field(description="PostgreSQL answers")

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"status": "ready", "lease": True, "face_recognition_model": True, "database": True}]
        }
    )
