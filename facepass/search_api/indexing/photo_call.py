"""POST /index: one photo, by its key in the photo store or as an image."""

import hashlib
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Annotated, Any
from urllib.parse import quote

import structlog
from fastapi import Depends, Request, Response

from facepass.schemas.callers import Caller
from facepass.schemas.errors import ErrorCode
from facepass.schemas.http.index_bodies import IndexPending, PhotoToIndex, PhotoToUpload
from facepass.schemas.ledger import UpdateStatus
from facepass.search_api.access import Guard
from facepass.search_api.http import PREFIXES, ConcurrencyLimit, is_form
from facepass.search_api.indexing.call_metrics import measured
from facepass.search_api.indexing.idempotency import Call, as_response, hash_of, once, read_key
from facepass.search_api.indexing.index_answers import index_answer
from facepass.search_api.indexing.wanted import Wanted, read_wanted
from facepass.search_api.parts import Parts
from facepass.storage.callers import KeptAnswer
from facepass.use_cases import Outcome, Plan, events, make_plan, read_photos

UPLOADS_AT_ONCE = 16
"""Images in memory at most, of 10 MB each."""


def photo_endpoint(
    parts: Parts, guard: Guard, calls: ConcurrencyLimit
) -> Callable[[Request, Caller], Awaitable[Response]]:
    """The route's function. `calls`: bounds the calls under way, together with other routes."""
    uploads = ConcurrencyLimit(UPLOADS_AT_ONCE, what="uploads")

    async def index_photo(request: Request, caller: Annotated[Caller, Depends(guard.limit_index())]) -> Response:
        async with AsyncExitStack() as stack:
            outcome = stack.enter_context(measured("photo"))
            stack.enter_context(calls.taken())
            key = read_key(request)
            if is_form(request):
                stack.enter_context(uploads.taken())
            wanted = await read_wanted(request, parts.settings)
            structlog.contextvars.bind_contextvars(session_id=wanted.session_id, photo_id=wanted.photo_id)
            call = None if key is None else _call(parts, caller, key, wanted)
            answer = await once(parts, call, lambda: index_wanted(parts, request, wanted))
            outcome.pending = answer.status == _ACCEPTED
            return as_response(answer)

    return index_photo


_OK, _ACCEPTED = 200, 202


def _call(parts: Parts, caller: Caller, key: str, wanted: Wanted) -> Call:
    image = hashlib.sha256(wanted.image).hexdigest() if wanted.image is not None else None
    return Call(
        caller=caller,
        key=key,
        request_hash=hash_of("photo", wanted.session_id, wanted.photo_id, wanted.s3_key, image),
        seconds=parts.indexing.index_wait_seconds,
    )


async def index_wanted(parts: Parts, request: Request, wanted: Wanted) -> KeptAnswer:
    """Have one photo indexed and wait for it: the answer of `POST /index`.

    Args:
        request: whose path has the version of the API in which the answer names the session's status.

    Raises:
        PermanentError, TransientError: why it is not indexed; `broker_unavailable`, `event_refused`,
            `store_unavailable`, `database_unavailable`.
    """
    outcome = await _outcome(parts, wanted)
    if outcome is not None:
        body = index_answer(wanted.photo_id, outcome)
        return KeptAnswer(status=_OK, body=body.model_dump(mode="json"), headers={})
    status_url = _status_url(request, wanted)
    pending = IndexPending(indexed=False, photo_id=wanted.photo_id, code=ErrorCode.PENDING, status_url=status_url)
    return KeptAnswer(status=_ACCEPTED, body=pending.model_dump(mode="json"), headers={"Location": status_url})


async def _outcome(parts: Parts, wanted: Wanted) -> Outcome | None:
    """What became of the photo; None if that is not known in time."""
    until = time.monotonic() + parts.indexing.index_wait_seconds
    session_id, photo_id = wanted.session_id, wanted.photo_id
    known = await read_photos(parts.store, session_id, [photo_id])
    plan = make_plan({photo_id: wanted.s3_key}, known)
    if photo_id in plan.settled:
        return plan.settled[photo_id]
    with parts.outcomes.waiting(session_id, plan.times) as waiting:
        uploaded = await _ask(parts, wanted, plan)
        outcome = (await waiting.more(until)).get(photo_id)
    if uploaded is not None and outcome is not None and outcome.status is UpdateStatus.FENCED:
        await parts.uploads.give_up(uploaded)
    return outcome


async def _ask(parts: Parts, wanted: Wanted, plan: Plan) -> str | None:
    """Publish the photo's event, if it needs one; the key of its image, if it was stored."""
    session_id, photo_id = wanted.session_id, wanted.photo_id
    key, uploaded = wanted.s3_key, None
    if wanted.image is not None:
        key = uploaded = await parts.uploads.store(
            session_id, photo_id, wanted.image, occurred_at=plan.times[photo_id]
        )
    if key is not None and photo_id in plan.ask:
        await parts.events.publish_all(events(session_id, plan, {photo_id: key}, [photo_id]))
    return uploaded


def _status_url(request: Request, wanted: Wanted) -> str:
    path = request.url.path
    prefix = next((one for one in PREFIXES if path.startswith(f"{one}/")), PREFIXES[0])
    return f"{prefix}/search/status/{quote(wanted.session_id, safe='')}"


def photo_body() -> dict[str, Any]:
    """The OpenAPI description of the two kinds of body, which the route reads itself."""
    form = PhotoToUpload.model_json_schema()
    form["properties"]["file"] = {
        "type": "string",
        "format": "binary",
        "description": "JPEG, PNG or WebP, at most 10 MB and 4,096 x 4,096 pixels",
    }
    form["required"] = [*form["required"], "file"]
    asked = PhotoToIndex.model_json_schema()
    (example,) = asked.pop("examples")
    return {
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {"schema": asked, "example": example},
                "multipart/form-data": {
                    "schema": form,
                    "example": {"photo_id": "1001", "session_id": "17", "file": "(the bytes of 0001.jpg)"},
                },
            },
        }
    }
