"""POST /index/batch: photos of one session, answered together, with their progress for whoever asks for it."""

import json
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack, aclosing
from typing import Annotated, Any

import structlog
from fastapi import Depends, Request, Response
from starlette.requests import ClientDisconnect

from facepass.schemas.callers import Caller
from facepass.schemas.errors import FacePassError, PermanentError
from facepass.schemas.http.index_bodies import BatchToIndex
from facepass.schemas.ids import PhotoId
from facepass.schemas.logs import get_logger
from facepass.search_api.access import Guard
from facepass.search_api.http import ConcurrencyLimit, read_json
from facepass.search_api.indexing.call_metrics import Measured, measured
from facepass.search_api.indexing.event_stream import HEARTBEAT, EventStream, event, event_of_text, wants_events
from facepass.search_api.indexing.idempotency import Call, Kept, as_response, hash_of, keeping, once, read_key
from facepass.search_api.indexing.index_answers import Batch
from facepass.search_api.indexing.wanted import BATCH_BODY_BYTES, check_s3_key
from facepass.search_api.parts import Parts
from facepass.storage.callers import KeptAnswer
from facepass.use_cases import Outcome, events, make_plan, read_photos

_log = get_logger(__name__)

STEP_SECONDS = 10.0
"""Between two steps at most: whoever follows the progress hears something, and one who left is noticed."""

Steps = AsyncGenerator[Batch, None]


def batch_endpoint(
    parts: Parts, guard: Guard, calls: ConcurrencyLimit
) -> Callable[[Request, Caller], Awaitable[Response]]:
    """The route's function. `calls`: bounds the calls under way, together with other routes."""

    async def index_batch(request: Request, caller: Annotated[Caller, Depends(guard.limit_index())]) -> Response:
        async with AsyncExitStack() as stack:
            outcome = stack.enter_context(measured("batch"))
            stack.enter_context(calls.taken())
            key = read_key(request)
            wanted = await read_json(request, BatchToIndex, max_bytes=BATCH_BODY_BYTES)
            structlog.contextvars.bind_contextvars(session_id=wanted.session_id)
            call = None if key is None else _call(parts, caller, key, wanted)
            if wants_events(request):
                return await EventStream.begin(_events(parts, wanted, call, outcome), stack)
            answer = await once(parts, call, lambda: _whole(parts, wanted, request, outcome))
            return as_response(answer)

    return index_batch


def _seconds(parts: Parts, wanted: BatchToIndex) -> float:
    settings = parts.indexing
    return settings.index_wait_seconds + settings.batch_wait_per_photo_seconds * len(wanted.photos)


def _call(parts: Parts, caller: Caller, key: str, wanted: BatchToIndex) -> Call:
    asked = [[photo.photo_id, photo.s3_key] for photo in wanted.photos]
    return Call(
        caller=caller,
        key=key,
        request_hash=hash_of("batch", wanted.session_id, asked),
        seconds=_seconds(parts, wanted),
    )


async def follow_batch(parts: Parts, wanted: BatchToIndex) -> Steps:
    """Publish what is to be indexed, then what is known of the batch: after every change, and every 10 s without.

    The last step is the one to answer with: nothing is pending, or the time is over.

    Raises:
        TransientError: `broker_unavailable`, `database_unavailable`, before the first step.
    """
    until = time.monotonic() + _seconds(parts, wanted)
    session_id = wanted.session_id
    keys = {photo.photo_id: photo.s3_key for photo in wanted.photos}
    refused = _refused(keys)
    asked = {photo_id: key for photo_id, key in keys.items() if photo_id not in refused}
    known = await read_photos(parts.store, session_id, asked)
    plan = make_plan(asked, known)
    settled: dict[PhotoId, Outcome] = dict(plan.settled)
    batch = Batch(photos=[photo.photo_id for photo in wanted.photos], refused=refused, settled=settled)
    with parts.outcomes.waiting(session_id, plan.times) as waiting:
        if plan.ask:
            await parts.events.publish_all(events(session_id, plan, asked, plan.ask))
        yield batch
        while not waiting.over and (now := time.monotonic()) < until:
            settled.update(await waiting.more(min(until, now + STEP_SECONDS)))
            yield batch


def _refused(keys: dict[PhotoId, str]) -> dict[PhotoId, FacePassError]:
    refused: dict[PhotoId, FacePassError] = {}
    for photo_id, key in keys.items():
        try:
            check_s3_key(key)
        except PermanentError as exc:
            refused[photo_id] = exc
    return refused


async def _whole(parts: Parts, wanted: BatchToIndex, request: Request, outcome: Measured) -> KeptAnswer:
    async with aclosing(follow_batch(parts, wanted)) as steps:
        async for step in steps:
            batch = step
            if await request.is_disconnected():
                raise ClientDisconnect
    return _answered(batch, outcome)


async def _events(
    parts: Parts, wanted: BatchToIndex, call: Call | None, outcome: Measured
) -> AsyncGenerator[bytes, None]:
    """The batch as events: `progress`, and at the end `result` with the answer, or `error`."""
    async with AsyncExitStack() as stack:
        kept = await stack.enter_async_context(keeping(parts, call)) if call else Kept()
        if kept.before is not None:
            yield _result(kept.before)
            return
        steps = await stack.enter_async_context(aclosing(follow_batch(parts, wanted)))
        last = None
        async for batch in steps:
            progress = batch.progress()
            yield HEARTBEAT if progress == last else event("progress", progress)
            last = progress
        kept.answer = _answered(batch, outcome)
    yield _result(kept.answer)


def _result(answer: KeptAnswer) -> bytes:
    return event_of_text("result", json.dumps(answer.body, ensure_ascii=False))


def _answered(batch: Batch, outcome: Measured) -> KeptAnswer:
    answer = batch.answer()
    outcome.pending = answer.pending > 0
    _log.info(
        "batch_indexed_by_call",
        photos=len(batch.photos),
        **answer.model_dump(exclude={"errors"}),
    )
    return KeptAnswer(status=200, body=answer.model_dump(mode="json"), headers={})


def batch_body() -> dict[str, Any]:
    """The OpenAPI description of the body, which the route reads itself."""
    schema = BatchToIndex.model_json_schema(ref_template="#/components/schemas/{model}")
    (example,) = schema.pop("examples")
    photo = schema.pop("$defs")["BatchPhoto"]
    schema["properties"]["photos"]["items"] = photo
    return {
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": schema, "example": example}},
        }
    }
