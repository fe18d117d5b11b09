"""The answers to failures, of one shape, and their documentation."""

from collections.abc import Sequence
from typing import Any

import structlog
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from facepass.schemas.error_table import ERROR_TABLE
from facepass.schemas.errors import ErrorCode, FacePassError, PermanentError, TransientError, invalid_input
from facepass.schemas.http.body import ErrorBody
from facepass.search_api.http.json_answers import json_answer

RETRY_AFTER_DETAIL = "retry_after_seconds"
"""The detail of a `rate_limited` error that becomes its Retry-After: only the limit knows how long it takes."""

_ERROR_SCHEMA = {"$ref": f"#/components/schemas/{ErrorBody.__name__}"}


def error_response(error: FacePassError) -> Response:
    """The answer to a failure. A defect shows neither its message nor its details."""
    if error.code not in ERROR_TABLE or error.code is ErrorCode.INTERNAL:
        error = internal_error()
    entry, headers = ERROR_TABLE[error.code], {}
    if retry_after := entry.retry_after or error.details.get(RETRY_AFTER_DETAIL):
        headers["Retry-After"] = str(retry_after)
    if entry.challenge:
        headers["WWW-Authenticate"] = entry.challenge
    return json_answer(error_body(error), entry.status, headers)


def error_body(error: FacePassError) -> ErrorBody:
    """The one shape of errors."""
    return ErrorBody(code=error.code, message=error.message, details=error.details)


def internal_error() -> PermanentError:
    """The error that stands for a defect: it says nothing of it."""
    return PermanentError(ErrorCode.INTERNAL, ERROR_TABLE[ErrorCode.INTERNAL].example)


def lease_expired() -> TransientError:
    """The error of a search without a lease in force."""
    return TransientError(ErrorCode.LEASE_EXPIRED, ERROR_TABLE[ErrorCode.LEASE_EXPIRED].example)


def answer_errors(app: FastAPI) -> None:
    """Make `app` answer every failure in our shape; unhandled exceptions are the request log's."""
    app.exception_handler(FacePassError)(_facepass_error)
    app.exception_handler(HTTPException)(_http_error)
    app.exception_handler(RequestValidationError)(_validation_error)


async def _facepass_error(_request: Request, exc: FacePassError) -> Response:
    if exc.code not in ERROR_TABLE:
        raise exc
    structlog.contextvars.bind_contextvars(code=str(exc.code))
    return error_response(exc)


async def _http_error(request: Request, exc: HTTPException) -> Response:
    codes = {404: ErrorCode.NOT_FOUND, 405: ErrorCode.METHOD_NOT_ALLOWED}
    code = codes.get(exc.status_code, ErrorCode.INVALID_PARAMETER)
    response = await _facepass_error(request, PermanentError(code, ERROR_TABLE[code].example))
    response.headers.update(exc.headers or {})
    return response


async def _validation_error(request: Request, exc: RequestValidationError) -> Response:
    """FastAPI's own checks, of parameters in the path and the query."""
    return await _facepass_error(request, invalid_input(exc, missing_id=ErrorCode.INVALID_ID, place=_parameter))


def _parameter(place: Sequence[int | str]) -> str:
    """The parameter's name: before it stands the part of the request, behind it the number of a list's item."""
    return next(part for part in reversed(place) if isinstance(part, str))


def documented(*codes: ErrorCode) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route that may answer with `codes`, for its OpenAPI description."""
    by_status: dict[int | str, list[ErrorCode]] = {}
    for code in dict.fromkeys(codes):
        by_status.setdefault(ERROR_TABLE[code].status, []).append(code)
    return {status: _documented(same) for status, same in by_status.items()}


def _documented(codes: list[ErrorCode]) -> dict[str, Any]:
    """All codes of one status."""
    examples = {str(code): {"value": _example(code)} for code in codes}
    response: dict[str, Any] = {
        "model": ErrorBody,
        "description": ", ".join(f"`{code}`" for code in codes),
        # the schema is named here too: FastAPI puts the model's under the route's own kind, which may be HTML
        "content": {"application/json": {"schema": _ERROR_SCHEMA, "examples": examples}},
    }
    say_when = [bool(ERROR_TABLE[code].retry_after) or code is ErrorCode.RATE_LIMITED for code in codes]
    if any(say_when):
        header = {"description": "seconds", "schema": {"type": "integer"}, "required": all(say_when)}
        response["headers"] = {"Retry-After": header}
    return response


def _example(code: ErrorCode) -> dict[str, Any]:
    return {"code": str(code), "message": ERROR_TABLE[code].example, "details": {}}
