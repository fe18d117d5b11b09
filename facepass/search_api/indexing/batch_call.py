"""POST /index/batch: photos of one session, answered together, with their progress for whoever asks for it."""

import json
import time
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, aclosing
from typing import Annotated, Any

import structlog
from fastapi import APIRouter, Depends, Request, Response
from starlette.requests import ClientDisconnect

from facepass.schemas.callers import Caller
from facepass.schemas.errors import FacePassError, PermanentError
from facepass.schemas.http.index_bodies import BatchAnswer, BatchToIndex
from facepass.schemas.ids import PhotoId
from facepass.schemas.logs import get_logger
from facepass.search_api.access import Guard
from facepass.search_api.http import documented, documented_body, read_json
from facepass.search_api.indexing.asked_photo import BATCH_BODY_BYTES, check_s3_key
from facepass.search_api.indexing.call_metrics import Measured, measured
from facepass.search_api.indexing.event_stream import (
    EVENTS,
    HEARTBEAT,
    EventStream,
    event,
    event_of_text,
    wants_events,
)
from facepass.search_api.indexing.idempotency import answered_once, as_response, kept_error, read_key
from facepass.search_api.indexing.index_answers import Batch
from facepass.search_api.indexing.index_document import BATCH_ERRORS, EVENTS_EXAMPLE
from facepass.search_api.indexing.index_resources import IndexResources
from facepass.storage.callers import KeptAnswer
from facepass.storage.reads import read_photos
from facepass.use_cases import (
    FirstAnswer,
    IdempotentCall,
    PhotoResult,
    events,
    first_answer,
    hash_of,
    make_plan,
)

_log = get_logger(__name__)

STEP_SECONDS = 10.0
"""Between two steps at most: whoever follows the progress hears something, and one who left is noticed."""

Steps = AsyncGenerator[Batch, None]


def add_batch_call(router: APIRouter, resources: IndexResources, guard: Guard) -> None:
    """Index photos of one session."""

    @router.post(
        "/index/batch",
        summary="Index photos of one session",
        response_model=BatchAnswer,
        response_description="What became of each photo",
        responses={
            200: {"content": {EVENTS: {"schema": {"type": "string"}, "example": EVENTS_EXAMPLE}}},
            **documented(*BATCH_ERRORS),
        },
        openapi_extra=_batch_body(),
    )
    async def index_batch(request: Request, caller: Annotated[Caller, Depends(guard.limit_index())]) -> Response:
        async with AsyncExitStack() as held:
            measure = held.enter_context(measured("batch"))
            held.enter_context(resources.under_way.counted())
            key = read_key(request)
            asked = await read_json(request, BatchToIndex, max_bytes=BATCH_BODY_BYTES)
            structlog.contextvars.bind_contextvars(session_id=asked.session_id)
            call = None if key is None else _call(resources, caller, key, asked)
            if wants_events(request):
                # The stream goes on after this returns, and closes `held` at its end.
                return await EventStream.begin(_events(resources, asked, call, measure), held)
            answer = await answered_once(
                resources.store.database, call, lambda: _whole(resources, asked, request, measure)
            )
            return as_response(answer)


def _seconds(resources: IndexResources, asked: BatchToIndex) -> float:
    settings = resources.settings
    return settings.index_wait_seconds + settings.batch_wait_per_photo_seconds * len(asked.photos)


def _call(resources: IndexResources, caller: Caller, key: str, asked: BatchToIndex) -> IdempotentCall:
    photos = [[photo.photo_id, photo.s3_key] for photo in asked.photos]
    return IdempotentCall(
        key_id=caller.key_id,
        key=key,
        request_hash=hash_of("batch", asked.session_id, photos),
        seconds=_seconds(resources, asked),
        kept_seconds=resources.settings.idempotency_hours * 3600,
    )


async def follow_batch(resources: IndexResources, asked: BatchToIndex) -> Steps:
    """Publish what is to be indexed, then what is known of the batch: after every change, and every 10 s without.

    The last step is the one to answer with: nothing is pending, or the time is over.

    Raises:
        TransientError: `broker_unavailable`, `database_unavailable`, before the first step.
    """
    until = time.monotonic() + _seconds(resources, asked)
    session_id = asked.session_id
    keys = {photo.photo_id: photo.s3_key for photo in asked.photos}
    refused = _refused(keys)
    taken = {photo_id: key for photo_id, key in keys.items() if photo_id not in refused}
    known = await read_photos(resources.store, session_id, taken)
    plan = make_plan(taken, known)
    results: dict[PhotoId, PhotoResult] = dict(plan.answered)
    batch = Batch(photos=[photo.photo_id for photo in asked.photos], refused=refused, results=results)
    with resources.results.waiting(session_id, plan.times) as waiting:
        # Ingest, another process, indexes them; the follower hears of it and tells `results`.
        if plan.ask:
            await resources.events.publish_all(events(session_id, plan, taken, plan.ask))
        yield batch
        while not waiting.over and (now := time.monotonic()) < until:
            results.update(await waiting.more(min(until, now + STEP_SECONDS)))
            yield batch


def _refused(keys: dict[PhotoId, str]) -> dict[PhotoId, FacePassError]:
    refused: dict[PhotoId, FacePassError] = {}
    for photo_id, key in keys.items():
        try:
            check_s3_key(key)
        except PermanentError as exc:
            refused[photo_id] = exc
    return refused


async def _whole(
    resources: IndexResources, asked: BatchToIndex, request: Request, measure: Measured
) -> KeptAnswer:
    async with aclosing(follow_batch(resources, asked)) as steps:
        async for step in steps:
            batch = step
            if await request.is_disconnected():
                raise ClientDisconnect
    return _answered(batch, measure)


async def _events(
    resources: IndexResources, asked: BatchToIndex, call: IdempotentCall | None, measure: Measured
) -> AsyncGenerator[bytes, None]:
    """The batch as events: `progress`, and at the end `result` with the answer, or `error`."""
    async with AsyncExitStack() as stack:
        kept = FirstAnswer()
        if call is not None:
            holding = first_answer(resources.store.database, call, of_error=kept_error)
            kept = await stack.enter_async_context(holding)
        if kept.before is not None:
            yield _result(kept.before)
            return
        steps = await stack.enter_async_context(aclosing(follow_batch(resources, asked)))
        last = None
        async for batch in steps:
            progress = batch.progress()
            yield HEARTBEAT if progress == last else event("progress", progress)
            last = progress
        kept.now = _answered(batch, measure)
    yield _result(kept.now)


def _result(answer: KeptAnswer) -> bytes:
    return event_of_text("result", json.dumps(answer.body, ensure_ascii=False))


def _answered(batch: Batch, measure: Measured) -> KeptAnswer:
    answer = batch.answer()
    measure.pending = answer.pending > 0
    _log.info(
        "batch_indexed_by_call",
        photos=len(batch.photos),
        **answer.model_dump(exclude={"errors"}),
    )
    return KeptAnswer(status=200, body=answer.model_dump(mode="json"), headers={})


def _batch_body() -> dict[str, Any]:
    """The body, which the route reads itself."""
    schema = BatchToIndex.model_json_schema(ref_template="#/components/schemas/{model}")
    (example,) = schema.pop("examples")
    photo = schema.pop("$defs")["BatchPhoto"]
    schema["properties"]["photos"]["items"] = photo
    return documented_body(json={"schema": schema, "example": example})
