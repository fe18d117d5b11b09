"""Turns every failure into an answer of one shape, and documents them."""

from typing import Any

import structlog
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from facepass.schemas.errors import ErrorCode, FacePassError, PermanentError, TransientError
from facepass.schemas.http.body import ErrorBody

STATUSES = {
    ErrorCode.NO_FACE: 400,
    ErrorCode.FILTERED: 400,
    ErrorCode.KEY_REQUIRED: 401,
    ErrorCode.TOKEN_REQUIRED: 401,
    ErrorCode.TOKEN_EXPIRED: 401,
    ErrorCode.SCOPE_REQUIRED: 403,
    ErrorCode.FACEPASS_DISABLED: 403,
    ErrorCode.SESSION_UNANNOUNCED: 403,
    ErrorCode.NOT_FOUND: 404,
    ErrorCode.EVENT_NOT_FOUND: 404,
    ErrorCode.SESSION_NOT_FOUND: 404,
    ErrorCode.PHOTO_UNKNOWN: 404,
    ErrorCode.METHOD_NOT_ALLOWED: 405,
    ErrorCode.UPLOAD_TIMEOUT: 408,
    ErrorCode.FENCED: 409,
    ErrorCode.REQUEST_UNDER_WAY: 409,
    ErrorCode.FILE_TOO_LARGE: 413,
    ErrorCode.TOO_MANY_PIXELS: 413,
    ErrorCode.UNSUPPORTED_IMAGE: 415,
    ErrorCode.DAMAGED_IMAGE: 422,
    ErrorCode.DECODER_FAILED: 422,
    ErrorCode.INVALID_ID: 422,
    ErrorCode.INVALID_PARAMETER: 422,
    ErrorCode.INVALID_S3_KEY: 422,
    ErrorCode.PHOTO_NOT_FOUND: 422,
    ErrorCode.STORE_FORBIDDEN: 422,
    ErrorCode.IDEMPOTENCY_MISMATCH: 422,
    ErrorCode.RATE_LIMITED: 429,
    ErrorCode.INTERNAL: 500,
    ErrorCode.DATABASE_UNAVAILABLE: 503,
    ErrorCode.LEASE_EXPIRED: 503,
    ErrorCode.MEMORY_BUDGET: 503,
    ErrorCode.OVERLOADED: 503,
    ErrorCode.BROKER_UNAVAILABLE: 503,
    ErrorCode.EVENT_REFUSED: 503,
    ErrorCode.STORE_UNAVAILABLE: 503,
    ErrorCode.PENDING: 503,
}
"""The status of each code that the API answers with. A code that is not here is a defect: 500 `internal`."""

RETRY_AFTER_SECONDS = {
    ErrorCode.OVERLOADED: 1,
    ErrorCode.LEASE_EXPIRED: 5,
    ErrorCode.DATABASE_UNAVAILABLE: 5,
    ErrorCode.MEMORY_BUDGET: 30,
    ErrorCode.REQUEST_UNDER_WAY: 1,
    ErrorCode.BROKER_UNAVAILABLE: 5,
    ErrorCode.EVENT_REFUSED: 60,
    ErrorCode.STORE_UNAVAILABLE: 30,
    ErrorCode.PENDING: 10,
}
"""A search takes well under a second; a lease comes back with the first poll after an outage."""

RETRY_AFTER_DETAIL = "retry_after_seconds"
"""The detail of a `rate_limited` error that becomes its Retry-After: only the limit knows how long it takes."""

_CHALLENGES = {
    ErrorCode.KEY_REQUIRED: 'ApiKey realm="FacePass"',
    ErrorCode.TOKEN_REQUIRED: 'Bearer realm="FacePass"',
    ErrorCode.TOKEN_EXPIRED: 'Bearer realm="FacePass", error="invalid_token"',
}
"""WWW-Authenticate of each 401."""

_EXAMPLES = {
    ErrorCode.NO_FACE: "no face was found in the selfie; take another one, frontal and well lit",
    ErrorCode.KEY_REQUIRED: "send a valid API key in the header X-API-Key",
    ErrorCode.TOKEN_REQUIRED: "this session needs its own link; ask whoever invited you for it",
    ErrorCode.TOKEN_EXPIRED: "this link has expired; ask whoever invited you for a new one",
    ErrorCode.SCOPE_REQUIRED: "the API key lacks the scope index",
    ErrorCode.FACEPASS_DISABLED: "FacePass is switched off for this session",
    ErrorCode.SESSION_UNANNOUNCED: "this session was not announced to FacePass; publish session-updated for it",
    ErrorCode.EVENT_NOT_FOUND: "no such event; it may have been deleted",
    ErrorCode.NOT_FOUND: "no such route; see /docs",
    ErrorCode.SESSION_NOT_FOUND: "nothing is known of this session",
    ErrorCode.PHOTO_UNKNOWN: "nothing was ever heard of this photo in this session",
    ErrorCode.METHOD_NOT_ALLOWED: "this route exists for another method; see /docs",
    ErrorCode.UPLOAD_TIMEOUT: "the upload took longer than 120 seconds",
    ErrorCode.FILE_TOO_LARGE: "the selfie has more than 10000000 bytes; send a smaller one",
    ErrorCode.TOO_MANY_PIXELS: "the image has more than 16777216 pixels",
    ErrorCode.UNSUPPORTED_IMAGE: "not a JPEG, PNG or WebP file",
    ErrorCode.DAMAGED_IMAGE: "the image is damaged or incomplete",
    ErrorCode.DECODER_FAILED: "decoding the image took too long or too much memory",
    ErrorCode.INVALID_ID: "session_id: String should have at least 1 character",
    ErrorCode.INVALID_PARAMETER: "threshold: Input should be less than or equal to 1",
    ErrorCode.RATE_LIMITED: "more than 100 calls in the time of the limit; wait 12 seconds",
    ErrorCode.INTERNAL: "a defect of FacePass; its log has more under this request's id",
    ErrorCode.DATABASE_UNAVAILABLE: "PostgreSQL does not answer",
    ErrorCode.LEASE_EXPIRED: "deletions have not been seen recently enough to answer",
    ErrorCode.MEMORY_BUDGET: "the session does not fit into the memory budget",
    ErrorCode.OVERLOADED: "too many searches are under way",
    ErrorCode.FILTERED: "the photo has faces, but none good enough to search for",
    ErrorCode.FENCED: "the photo or its session was deleted",
    ErrorCode.REQUEST_UNDER_WAY: "the first call with this Idempotency-Key has no answer yet",
    ErrorCode.INVALID_S3_KEY: "s3_key holds '..'",
    ErrorCode.PHOTO_NOT_FOUND: "the photo store has no object of this s3_key",
    ErrorCode.STORE_FORBIDDEN: "the photo store refuses access",
    ErrorCode.IDEMPOTENCY_MISMATCH: "this Idempotency-Key was used with another request; take a new one",
    ErrorCode.BROKER_UNAVAILABLE: "Kafka does not answer: try again later",
    ErrorCode.EVENT_REFUSED: "Kafka refuses: TopicAuthorizationFailedError",
    ErrorCode.STORE_UNAVAILABLE: "the photo store does not answer",
    ErrorCode.PENDING: "the deletion is accepted, but not applied yet; call again for the acknowledgement",
}

_ERROR_SCHEMA = {"$ref": f"#/components/schemas/{ErrorBody.__name__}"}


def error_response(error: FacePassError) -> Response:
    """The answer to a failure. A defect shows neither its message nor its details."""
    if error.code not in STATUSES or error.code is ErrorCode.INTERNAL:
        error = internal_error()
    body = error_body(error)
    headers = {}
    if retry_after := RETRY_AFTER_SECONDS.get(error.code, error.details.get(RETRY_AFTER_DETAIL)):
        headers["Retry-After"] = str(retry_after)
    if error.code in _CHALLENGES:
        headers["WWW-Authenticate"] = _CHALLENGES[error.code]
    return Response(
        body.model_dump_json(), status_code=STATUSES[error.code], headers=headers, media_type="application/json"
    )


def error_body(error: FacePassError) -> ErrorBody:
    """The one shape of errors."""
    return ErrorBody(code=error.code, message=error.message, details=error.details)


def internal_error() -> PermanentError:
    return PermanentError(ErrorCode.INTERNAL, _EXAMPLES[ErrorCode.INTERNAL])


def lease_expired() -> TransientError:
    return TransientError(ErrorCode.LEASE_EXPIRED, _EXAMPLES[ErrorCode.LEASE_EXPIRED])


def answer_errors(app: FastAPI) -> None:
    """Make `app` answer every failure in our shape; unhandled exceptions are the request log's."""
    app.exception_handler(FacePassError)(_facepass_error)
    app.exception_handler(HTTPException)(_http_error)
    app.exception_handler(RequestValidationError)(_validation_error)


async def _facepass_error(_request: Request, exc: FacePassError) -> Response:
    if exc.code not in STATUSES:
        raise exc
    structlog.contextvars.bind_contextvars(code=str(exc.code))
    return error_response(exc)


async def _http_error(request: Request, exc: HTTPException) -> Response:
    codes = {404: ErrorCode.NOT_FOUND, 405: ErrorCode.METHOD_NOT_ALLOWED}
    code = codes.get(exc.status_code, ErrorCode.INVALID_PARAMETER)
    response = await _facepass_error(request, PermanentError(code, _EXAMPLES[code]))
    response.headers.update(exc.headers or {})
    return response


async def _validation_error(request: Request, exc: RequestValidationError) -> Response:
    """FastAPI's own checks, of parameters in the path and the query."""
    first = exc.errors()[0]
    name = next(
        str(part) for part in reversed(first["loc"]) if isinstance(part, str)
    )  # others number a list's items
    code = ErrorCode.INVALID_ID if name in {"session_id", "photo_id"} else ErrorCode.INVALID_PARAMETER
    return await _facepass_error(request, PermanentError(code, f"{name}: {first['msg']}", field=name))


def documented(*codes: ErrorCode) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route that may answer with `codes`, for its OpenAPI description."""
    by_status: dict[int | str, list[ErrorCode]] = {}
    for code in dict.fromkeys(codes):
        by_status.setdefault(STATUSES[code], []).append(code)
    return {status: _documented(same) for status, same in by_status.items()}


def _documented(codes: list[ErrorCode]) -> dict[str, Any]:
    """All codes of one status."""
    examples = {
        str(code): {"value": {"code": str(code), "message": _EXAMPLES[code], "details": {}}} for code in codes
    }
    response: dict[str, Any] = {
        "model": ErrorBody,
        "description": ", ".join(f"`{code}`" for code in codes),
        # the schema is named here too: FastAPI puts the model's under the route's own kind, which may be HTML
        "content": {"application/json": {"schema": _ERROR_SCHEMA, "examples": examples}},
    }
    say_when = [code in RETRY_AFTER_SECONDS or code is ErrorCode.RATE_LIMITED for code in codes]
    if any(say_when):
        header = {"description": "seconds", "schema": {"type": "integer"}, "required": all(say_when)}
        response["headers"] = {"Retry-After": header}
    return response
