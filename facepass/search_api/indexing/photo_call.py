"""POST /index: one photo, by its key in the photo store or as an image."""

import hashlib
import time
from contextlib import AsyncExitStack
from typing import Annotated, Any
from urllib.parse import quote

import structlog
from fastapi import APIRouter, Depends, Request, Response

from facepass.schemas.callers import Caller
from facepass.schemas.errors import ErrorCode
from facepass.schemas.http.index_bodies import IndexAnswer, IndexPending, PhotoToIndex, PhotoToUpload
from facepass.schemas.ledger import UpdateStatus
from facepass.search_api.access import Guard
from facepass.search_api.http import PREFIXES, ConcurrencyLimit, documented, documented_body, is_form
from facepass.search_api.indexing.asked_photo import AskedPhoto, read_asked_photo
from facepass.search_api.indexing.call_metrics import measured
from facepass.search_api.indexing.idempotency import answered_once, as_response, read_key
from facepass.search_api.indexing.index_answers import index_answer
from facepass.search_api.indexing.index_document import PHOTO_ERRORS
from facepass.search_api.indexing.index_resources import IndexResources
from facepass.storage.callers import KeptAnswer
from facepass.storage.reads import read_photos
from facepass.use_cases import IdempotentCall, PhotoResult, Plan, events, hash_of, make_plan

UPLOADS_AT_ONCE = 16
"""Images in memory at most, of 10 MB each."""

_OK, _ACCEPTED = 200, 202


def add_photo_call(router: APIRouter, resources: IndexResources, guard: Guard) -> None:
    """Index one photo."""
    uploads = ConcurrencyLimit(UPLOADS_AT_ONCE, what="uploads")

    @router.post(
        "/index",
        summary="Index one photo",
        response_model=IndexAnswer,
        response_description="Indexed",
        responses={
            202: {"model": IndexPending, "description": "accepted, not indexed yet"},
            **documented(*PHOTO_ERRORS),
        },
        openapi_extra=_photo_body(),
    )
    async def index_photo(request: Request, caller: Annotated[Caller, Depends(guard.limit_index())]) -> Response:
        async with AsyncExitStack() as held:
            measure = held.enter_context(measured("photo"))
            held.enter_context(resources.under_way.counted())
            key = read_key(request)
            if is_form(request):
                held.enter_context(uploads.counted())
            asked = await read_asked_photo(request, resources.images)
            structlog.contextvars.bind_contextvars(session_id=asked.session_id, photo_id=asked.photo_id)
            call = None if key is None else _call(resources, caller, key, asked)
            answer = await answered_once(
                resources.store.database, call, lambda: index_asked_photo(resources, request, asked)
            )
            measure.pending = answer.status == _ACCEPTED
            return as_response(answer)


def _call(resources: IndexResources, caller: Caller, key: str, asked: AskedPhoto) -> IdempotentCall:
    image = hashlib.sha256(asked.image).hexdigest() if asked.image is not None else None
    return IdempotentCall(
        key_id=caller.key_id,
        key=key,
        request_hash=hash_of("photo", asked.session_id, asked.photo_id, asked.s3_key, image),
        seconds=resources.settings.index_wait_seconds,
        kept_seconds=resources.settings.idempotency_hours * 3600,
    )


async def index_asked_photo(resources: IndexResources, request: Request, asked: AskedPhoto) -> KeptAnswer:
    """Have one photo indexed and wait for it: the answer of `POST /index`.

    Args:
        request: whose path has the version of the API in which the answer names the session's status.

    Raises:
        PermanentError, TransientError: why it is not indexed; `broker_unavailable`, `event_refused`,
            `store_unavailable`, `database_unavailable`.
    """
    result = await _result(resources, asked)
    if result is not None:
        body = index_answer(asked.photo_id, result)
        return KeptAnswer(status=_OK, body=body.model_dump(mode="json"), headers={})
    status_url = _status_url(request, asked)
    pending = IndexPending(indexed=False, photo_id=asked.photo_id, code=ErrorCode.PENDING, status_url=status_url)
    return KeptAnswer(status=_ACCEPTED, body=pending.model_dump(mode="json"), headers={"Location": status_url})


async def _result(resources: IndexResources, asked: AskedPhoto) -> PhotoResult | None:
    """The photo's result; None if that is not known in time."""
    until = time.monotonic() + resources.settings.index_wait_seconds
    session_id, photo_id = asked.session_id, asked.photo_id
    known = await read_photos(resources.store, session_id, [photo_id])
    plan = make_plan({photo_id: asked.s3_key}, known)
    if photo_id in plan.answered:
        return plan.answered[photo_id]
    with resources.results.waiting(session_id, plan.times) as waiting:
        uploaded = await _ask(resources, asked, plan)
        # Ingest, another process, indexes it; the follower hears of it and tells `results`.
        result = (await waiting.more(until)).get(photo_id)
    if uploaded is not None and result is not None and result.status is UpdateStatus.FENCED:
        await resources.uploads.give_up(uploaded)
    return result


async def _ask(resources: IndexResources, asked: AskedPhoto, plan: Plan) -> str | None:
    """Publish the photo's event, if it needs one; the key of its image, if it was stored."""
    session_id, photo_id = asked.session_id, asked.photo_id
    key, uploaded = asked.s3_key, None
    if asked.image is not None:
        key = uploaded = await resources.uploads.store(
            session_id, photo_id, asked.image, occurred_at=plan.times[photo_id]
        )
    if key is not None and photo_id in plan.ask:
        await resources.events.publish_all(events(session_id, plan, {photo_id: key}, [photo_id]))
    return uploaded


def _status_url(request: Request, asked: AskedPhoto) -> str:
    path = request.url.path
    prefix = next((one for one in PREFIXES if path.startswith(f"{one}/")), PREFIXES[0])
    return f"{prefix}/search/status/{quote(asked.session_id, safe='')}"


def _photo_body() -> dict[str, Any]:
    """The two kinds of body, which the route reads itself."""
    form = PhotoToUpload.model_json_schema()
    form["properties"]["file"] = {
        "type": "string",
        "format": "binary",
        "description": "JPEG, PNG or WebP, at most 10 MB and 4,096 x 4,096 pixels",
    }
    form["required"] = [*form["required"], "file"]
    asked = PhotoToIndex.model_json_schema()
    (example,) = asked.pop("examples")
    return documented_body(
        json={"schema": asked, "example": example},
        form={
            "schema": form,
            "example": {"photo_id": "1001", "session_id": "17", "file": "(the bytes of 0001.jpg)"},
        },
    )
