"""The bodies of POST /sessions/{session_id}/explain: why a selfie finds a photo, or does not."""

from datetime import datetime
from enum import StrEnum

from pydantic import ConfigDict, Field
from pydantic.config import JsonDict

from facepass.schemas.http.body import AnswerModel, BoxBody, Count, Id, RequestModel
from facepass.schemas.http.search_bodies import WarningBody
from facepass.schemas.http.session_bodies import LeftOutFaceBody, PhotoErrorBody
from facepass.schemas.ids import PhotoIdField
from facepass.schemas.ledger import PhotoState
from facepass.schemas.similarity import DEFAULT_THRESHOLD


class ExplainParameters(RequestModel):
    """The fields beside the selfie."""

    photo_id: PhotoIdField = Field(description="the photo to explain")
    threshold: float = Field(
        default=DEFAULT_THRESHOLD, ge=0, le=1, description="least similarity of a match, as for a search"
    )


class ExplainReason(StrEnum):
    """The reason why a search with this selfie returns the photo, or does not."""

    MATCH = "match"
    """A face of the photo is at or above the threshold."""
    BELOW_THRESHOLD = "below_threshold"
    """The photo has faces, and all are below the threshold."""
    NO_FACE = "no_face"
    """No face was found on the photo."""
    FILTERED = "filtered"
    """Faces were found on the photo, but none good enough to search for."""
    PENDING = "pending"
    """The photo is not indexed yet."""
    FAILED = "failed"
    """The photo could not be indexed."""
    DELETED = "deleted"
    """The photo or its session was deleted."""
    FACEPASS_DISABLED = "facepass_disabled"
    """FacePass is switched off for the session: guests' searches in it are refused."""
    SESSION_UNANNOUNCED = "session_unannounced"
    """Guests' searches are refused until the session is announced by session-updated."""


class QualityBody(AnswerModel):
    """The measures of how usable a face is."""

    size: float = Field(description="shorter side of its box, pixels of the picture at full size")
    sharpness: float = Field(description="higher is sharper; below 2 a photo's face is left out")
    yaw: float = Field(description="degrees the head is turned left or right; 0 is frontal")
    pitch: float = Field(description="degrees the head is turned up or down")
    roll: float = Field(description="degrees the head is tilted in the picture")


class SelfieFaceBody(AnswerModel):
    """A face of the selfie. Searched with is only the largest."""

    box: BoxBody
    confidence: float = Field(ge=0, le=1, description="the detector's score")
    searched: bool = Field(description="whether this is the one that is searched with")
    quality: QualityBody | None = Field(description="of the one that is searched with; null for the others")


class ExplainedSelfie(AnswerModel):
    """The findings in the selfie."""

    width: Count = Field(description="pixels, upright")
    height: Count
    faces: list[SelfieFaceBody] = Field(description="the largest first")
    warnings: list[WarningBody] = Field(description="what would make a better selfie; empty: nothing")


class ExplainedFace(AnswerModel):
    """A stored face of the photo, compared with the selfie."""

    box: BoxBody
    confidence: float = Field(ge=0, le=1, description="the detector's score")
    quality: QualityBody
    similarity: float = Field(ge=0, le=1, description="0 to 1, the same scale for every model")
    cosine: float = Field(ge=-1, le=1, description="raw cosine of the two embeddings")
    matches: bool = Field(description="whether that reaches the threshold")


class ExplainedPhoto(AnswerModel):
    """The photo as it is stored."""

    state: PhotoState | None = Field(description="null: it was deleted before it was ever indexed")
    error: PhotoErrorBody | None = Field(description="of the last failure; null: none")
    attempts: Count = Field(description="how often it was tried for its newest event")
    next_attempt_at: datetime | None = Field(description="when a pending photo is taken up at the latest")
    occurred_at: datetime | None = Field(description="of its newest event; null: only its deletion was seen")
    deleted_at: datetime | None = Field(description="its fence: no event up to then counts; null: none")
    session_deleted_at: datetime | None = Field(description="the same of the whole session")
    revision: Count = Field(description="of the session when the photo's faces last changed; 0: never")
    faces: list[ExplainedFace] = Field(description="those that count, the most alike first")
    left_out: list[LeftOutFaceBody] = Field(description="faces that were found but do not count, and why")


_FACE_BOX: JsonDict = {"x": 812.5, "y": 240.0, "width": 96.25, "height": 121.5}
_QUALITY: JsonDict = {"size": 96.25, "sharpness": 412.0, "yaw": -8.1, "pitch": -5.5, "roll": 1.2}


class Explanation(AnswerModel):
    """The reason why a search with this selfie returns the photo, or does not, by what is stored now."""

    session_id: Id
    photo_id: Id
    matched: bool = Field(description="whether a search would return it")
    reason: ExplainReason = Field(description="for programs")
    message: str = Field(description="for people: the same in a sentence")
    threshold: float = Field(ge=0, le=1, description="least similarity of a match, as asked for")
    least_cosine: float = Field(ge=-1, le=1, description="the cosine that this similarity means for the model")
    selfie: ExplainedSelfie
    photo: ExplainedPhoto

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "session_id": "wedding-2026-05-09",
                    "photo_id": "8f14e45f-ceea-467f-9d3c-5f5b6c1a0d11",
                    "matched": False,
                    "reason": "below_threshold",
                    "message": "the most alike face of the photo has a similarity of 0.4120, below 0.7",
                    "threshold": 0.7,
                    "least_cosine": 0.36,
                    "selfie": {
                        "width": 1200,
                        "height": 1600,
                        "faces": [{"box": _FACE_BOX, "confidence": 0.9511, "searched": True, "quality": _QUALITY}],
                        "warnings": [],
                    },
                    "photo": {
                        "state": "indexed",
                        "error": None,
                        "attempts": 1,
                        "next_attempt_at": None,
                        "occurred_at": "2026-05-09T12:30:00Z",
                        "deleted_at": None,
                        "session_deleted_at": None,
                        "revision": 12,
                        "faces": [
                            {
                                "box": _FACE_BOX,
                                "confidence": 0.9412,
                                "quality": _QUALITY,
                                "similarity": 0.412,
                                "cosine": -0.1995,
                                "matches": False,
                            }
                        ],
                        "left_out": [],
                    },
                }
            ]
        }
    )
