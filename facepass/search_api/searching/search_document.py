"""The OpenAPI document's part on routes that take selfies: their errors, and the form of each."""

from typing import Any

from facepass.schemas.errors import ErrorCode
from facepass.schemas.http.explain_bodies import ExplainParameters
from facepass.schemas.http.search_bodies import MAX_SELFIES, SearchParameters
from facepass.search_api.access import ADMISSION_ERRORS, GUEST_ERRORS, KEY_ERRORS, LIMIT_ERRORS
from facepass.search_api.http import documented_body

_SELFIE_ERRORS = (
    ErrorCode.NO_FACE,
    ErrorCode.UPLOAD_TIMEOUT,
    ErrorCode.FILE_TOO_LARGE,
    ErrorCode.TOO_MANY_PIXELS,
    ErrorCode.UNSUPPORTED_IMAGE,
    ErrorCode.DAMAGED_IMAGE,
    ErrorCode.DECODER_FAILED,
    ErrorCode.INVALID_ID,
    ErrorCode.INVALID_PARAMETER,
)

SEARCH_ERRORS = (
    *_SELFIE_ERRORS,
    *GUEST_ERRORS,
    *LIMIT_ERRORS,
    *ADMISSION_ERRORS,
    ErrorCode.INTERNAL,
    ErrorCode.DATABASE_UNAVAILABLE,
    ErrorCode.LEASE_EXPIRED,
    ErrorCode.MEMORY_BUDGET,
    ErrorCode.OVERLOADED,
)

EXPLAIN_ERRORS = (
    ErrorCode.SESSION_NOT_FOUND,
    ErrorCode.PHOTO_UNKNOWN,
    *_SELFIE_ERRORS,
    *KEY_ERRORS,
    ErrorCode.INTERNAL,
    ErrorCode.OVERLOADED,
)


def search_body() -> dict[str, Any]:
    """The form of a search."""
    example = {
        "file": ["(the bytes of selfie.jpg)"],
        "session_id": "wedding-2026-05-09",
        "threshold": 0.7,
        "limit": 100,
    }
    return _selfie_body(SearchParameters.model_json_schema(), MAX_SELFIES, example)


def explain_body() -> dict[str, Any]:
    """The form of an explanation."""
    example = {
        "file": ["(the bytes of selfie.jpg)"],
        "photo_id": "8f14e45f-ceea-467f-9d3c-5f5b6c1a0d11",
        "threshold": 0.7,
    }
    return _selfie_body(ExplainParameters.model_json_schema(), 1, example)


def _selfie_body(schema: dict[str, Any], most: int, example: dict[str, Any]) -> dict[str, Any]:
    """A form that takes selfies under two names, `most` in all, and the fields of a schema."""
    binary = {"type": "string", "format": "binary"}
    selfies = {"type": "array", "items": binary, "minItems": 1, "maxItems": most}
    described = "JPEG, PNG or WebP" + (f"; repeated for up to {most} selfies of one person" if most > 1 else "")
    images = {
        "file": selfies | {"description": f"the selfie: {described}"},
        "image": selfies | {"description": "the same as `file`"},
    }
    schema["properties"] = images | schema["properties"]
    schema["anyOf"] = [{"required": ["file"]}, {"required": ["image"]}]
    return documented_body(form={"schema": schema, "example": example})
