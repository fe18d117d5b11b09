"""The bodies of searches: what one takes beside the selfies, and its answer."""

from enum import StrEnum

from pydantic import ConfigDict, Field

from facepass.schemas.http.body import AnswerModel, BoxBody, Count, Id, RequestModel
from facepass.schemas.ids import SessionIdField
from facepass.schemas.similarity import DEFAULT_THRESHOLD

MAX_MATCHES = 1000
"""Photos in one answer at most, and the default: Pixora's client shows all photos of a guest."""

MAX_SELFIES = 5
"""Of one search. More hardly tell more of the same person, and each takes a search's time."""

MAX_WAIT_MS = 10_000
"""A longer wait would hold a search's slot and the guest's connection for nothing."""

_MAX_REVISION = 2**53 - 1
"""The largest integer that every JSON reader keeps exact; no session changes that often."""


class SearchParameters(RequestModel):
    """The fields of a search beside the selfie."""

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


class MatchBody(AnswerModel):
    """One photo with the person of the selfie."""

    photo_id: Id
    similarity: float = Field(ge=0, le=1, description="0 to 1, the same scale for every model")
    cosine: float = Field(ge=-1, le=1, description="raw cosine of the two embeddings")
    confidence: float = Field(ge=0, le=1, description="the detector's score of the matched face")
    box: BoxBody = Field(description="the matched face")


class WarningCode(StrEnum):
    """A flaw of a selfie that was searched with, or the reason why one of several was left out."""

    NO_FACE = "no_face"
    OUTLIER = "outlier"
    SEVERAL_FACES = "several_faces"
    TOO_SMALL = "too_small"
    BLURRED = "blurred"
    TOO_DARK = "too_dark"
    TURNED_AWAY = "turned_away"


class WarningBody(AnswerModel):
    """Advice on what a guest could do better: the answer stands, but another selfie may find more."""

    code: WarningCode = Field(
        description="for programs; `no_face` and `outlier` (somebody else's) were left out of several selfies"
    )
    message: str = Field(description="for people: what is wrong and what to do")
    selfie: int = Field(ge=0, lt=MAX_SELFIES, description="which selfie, in the order sent, from 0")
    box: BoxBody | None = Field(description="the face in question, in pixels of the selfie; null: there is none")


class FreshnessBody(AnswerModel):
    """The share of the session that the answer rests on."""

    revision: Count = Field(description="of the session, as searched")
    indexed_photos: Count = Field(description="photos with at least one face, as searched")
    pending: Count = Field(description="photos that are still being indexed")
    failed: Count = Field(description="photos that could not be indexed")
    poll_age_ms: Count = Field(description="time since the database was last asked what changed")
    complete: bool = Field(
        description="nothing is pending, nothing is missing, and that is known of the last 10 s"
    )
    behind: Count = Field(description="revisions that are known of but not searched yet")


class SearchAnswer(AnswerModel):
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
