"""POST /sessions/{session_id}/explain: why a selfie finds a photo or does not, by what PostgreSQL has."""

from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from typing import Any

import structlog
from fastapi import APIRouter, Depends, Request, Response

from facepass.schemas.callers import Scope
from facepass.schemas.errors import ErrorCode, PermanentError
from facepass.schemas.http.explain_bodies import ExplainParameters, ExplainReason, Explanation
from facepass.schemas.ids import SessionId, SessionIdField
from facepass.schemas.similarity import cosine_from_similarity
from facepass.search_api.access import KEY_ERRORS, Guard, refusal
from facepass.search_api.http import (
    ConcurrencyLimit,
    SessionInPath,
    checked_fields,
    documented,
    read_form,
)
from facepass.search_api.parts import Parts
from facepass.search_api.searching.explanation import explained_photo, explained_selfie, verdict
from facepass.search_api.searching.search import SELFIE_ERRORS, analyse_selfies, selfie_fields
from facepass.search_api.searching.selfies import query_of
from facepass.storage.reads import PhotoRecord, read_photo_record
from facepass.storage.writes import read_counts

EXPLAIN_ERRORS = (
    ErrorCode.SESSION_NOT_FOUND,
    ErrorCode.PHOTO_UNKNOWN,
    *SELFIE_ERRORS,
    *KEY_ERRORS,
    ErrorCode.INTERNAL,
    ErrorCode.OVERLOADED,
)

Endpoint = Callable[[Request, SessionIdField], Awaitable[Response]]


def explain_routes(parts: Parts, guard: Guard, threads: Executor, slots: ConcurrencyLimit) -> APIRouter:
    """The route that explains. `threads` and `slots`: as of a search."""
    router = APIRouter(tags=["sessions"])
    router.add_api_route(
        "/sessions/{session_id:segment}/explain",
        explain_endpoint(parts, threads, slots),
        methods=["POST"],
        summary="Why a selfie finds a photo, or does not",
        response_model=Explanation,
        response_description="What was found on both, and how alike it is",
        responses=documented(*EXPLAIN_ERRORS),
        dependencies=[Depends(guard.key(Scope.READ))],
        openapi_extra=_request_body(),
    )
    return router


def explain_endpoint(parts: Parts, threads: Executor, slots: ConcurrencyLimit) -> Endpoint:
    """The route's function. It reads the rows themselves, and so says what is true now; a shard may lag behind."""

    async def explain(request: Request, session_id: SessionInPath) -> Response:
        structlog.contextvars.bind_contextvars(session_id=session_id)
        with slots.taken():
            form = await read_form(request, max_bytes=parts.settings.selfie_max_bytes)
            wanted = checked_fields(form.fields, ExplainParameters)
            record = await _record(parts, session_id, wanted)
            selfies = await analyse_selfies(parts, threads, form.images)
        operating_point = parts.store.generation.spec.operating_point
        query = query_of(selfies, operating_point)
        photo = explained_photo(record, query.embedding, wanted.threshold, operating_point)
        counts = await read_counts(parts.store, session_id)
        reason, message = verdict(photo, wanted.threshold, refusal(counts, parts.access.unannounced))
        answer = Explanation(
            session_id=session_id,
            photo_id=wanted.photo_id,
            matched=reason is ExplainReason.MATCH,
            reason=reason,
            message=message,
            threshold=wanted.threshold,
            least_cosine=cosine_from_similarity(wanted.threshold, operating_point),
            selfie=explained_selfie(selfies[0], query),
            photo=photo,
        )
        return Response(answer.model_dump_json(), media_type="application/json")

    return explain


async def _record(parts: Parts, session_id: SessionId, wanted: ExplainParameters) -> PhotoRecord:
    record = await read_photo_record(parts.store, session_id, wanted.photo_id)
    if record is None:
        raise PermanentError(ErrorCode.SESSION_NOT_FOUND, "nothing was ever heard of this session")
    if not record.known:
        raise PermanentError(ErrorCode.PHOTO_UNKNOWN, "nothing was ever heard of this photo in this session")
    return record


def _request_body() -> dict[str, Any]:
    schema = ExplainParameters.model_json_schema()
    schema["properties"] = selfie_fields(1) | schema["properties"]
    schema["anyOf"] = [{"required": ["file"]}, {"required": ["image"]}]
    example = {
        "file": ["(the bytes of selfie.jpg)"],
        "photo_id": "8f14e45f-ceea-467f-9d3c-5f5b6c1a0d11",
        "threshold": 0.7,
    }
    return {
        "requestBody": {
            "required": True,
            "content": {"multipart/form-data": {"schema": schema, "example": example}},
        }
    }
