"""The half of indexing that writes nothing: triage, fetch, analyse. What goes wrong with one is its outcome."""

import asyncio
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace

from facepass.schemas.errors import ErrorCode, FacePassError, PermanentError, TransientError
from facepass.schemas.faces import PhotoFaces
from facepass.schemas.ledger import PhotoState
from facepass.schemas.logs import get_logger
from facepass.schemas.metrics import photo_failures_total
from facepass.schemas.photo_events import PhotoOutcome
from facepass.storage.photos import StoredPhoto
from facepass.storage.writes import Written, triage_photos
from facepass.streams.ingest.pipeline import Pipeline, Task
from facepass.streams.process import for_a_while, until_available

_log = get_logger(__name__)

_FETCH_RETRY_SECONDS = 2.0
"""How long a batch waits for a photo store that stumbles: what takes longer is the sweep's. To it, it is slow."""

_FETCH_SECONDS = 5.0
"""How long a batch waits for one photo. A transfer that hangs, or drips, would hold its neighbours for as long as
the photo store's own time-outs last; the sweep, where each photo is settled for itself, lets it take that long."""


async def prepare_photos(pipeline: Pipeline, tasks: Sequence[Task]) -> list[Written | PhotoOutcome]:
    """The results of photos, in the order of `tasks`: an outcome to save, or what was written of it before.

    May run while an earlier batch is still being settled.
    """
    photos = [task.photo for task in tasks]
    triaged = await until_available(lambda: triage_photos(pipeline.store, photos), waiting_for="PostgreSQL")
    wanted = [task for task, written in zip(tasks, triaged, strict=True) if written is None]
    outcomes = iter(await asyncio.gather(*(_outcome(pipeline, task) for task in wanted)))
    return [written or next(outcomes) for written in triaged]


async def _outcome(pipeline: Pipeline, task: Task) -> PhotoOutcome:
    """Fetch and analyse one photo; whatever goes wrong becomes its outcome and leaves its neighbours alone."""
    pending = PhotoOutcome(photo=task.photo, state=PhotoState.PENDING)
    swept = task.record is None
    try:
        async with nullcontext() if swept else pipeline.places:
            stored = await (_fetch_swept if swept else _fetch)(pipeline, task)
            found = await _analyse(pipeline, stored)
    except TransientError as exc:
        return _failed(pending, exc)
    except PermanentError as exc:
        return _failed(replace(pending, state=PhotoState.FAILED), exc)
    except Exception as exc:
        error = PermanentError(ErrorCode.INTERNAL, f"a defect: {type(exc).__name__}")
        error.__cause__ = exc
        return _failed(replace(pending, state=PhotoState.FAILED), error)
    return replace(pending, state=_state(found), found=found, etag=stored.etag)


async def _fetch(pipeline: Pipeline, task: Task) -> StoredPhoto:
    try:
        async with asyncio.timeout(_FETCH_SECONDS):
            return await _try(pipeline, task)
    except TimeoutError:
        raise _unread(_FETCH_SECONDS) from None


async def _fetch_swept(pipeline: Pipeline, task: Task) -> StoredPhoto:
    """Fetch for as long as the photo store's own time-outs let it take, unless there are enough slow ones."""
    fetching = asyncio.create_task(_try(pipeline, task))
    try:
        done, _ = await asyncio.wait([fetching], timeout=_FETCH_RETRY_SECONDS)
        if not done and pipeline.slow_places.locked():
            raise _unread(_FETCH_RETRY_SECONDS)
        async with nullcontext() if done else pipeline.slow_places:
            return await fetching
    finally:
        fetching.cancel()


async def _try(pipeline: Pipeline, task: Task) -> StoredPhoto:
    s3_key = task.photo.event.s3_key
    return await for_a_while(lambda: pipeline.photo_store.fetch(s3_key), seconds=_FETCH_RETRY_SECONDS)


def _unread(seconds: float) -> TransientError:
    return TransientError(ErrorCode.STORE_UNAVAILABLE, f"photo store: not read within {seconds:.0f} s")


async def _analyse(pipeline: Pipeline, stored: StoredPhoto) -> PhotoFaces:
    loop = asyncio.get_running_loop()
    return await loop.run_in_executor(pipeline.threads, pipeline.engine.analyse_photo, stored.data)


def _state(found: PhotoFaces) -> PhotoState:
    if found.faces:
        return PhotoState.INDEXED
    return PhotoState.FILTERED if found.left_out else PhotoState.NO_FACE


def _failed(outcome: PhotoOutcome, error: FacePassError) -> PhotoOutcome:
    """Count and log a failure; the outcome with it."""
    event = outcome.photo.event
    photo_failures_total.labels(code=error.code).inc()
    _log.warning(
        "photo_failed",
        session_id=event.session_id,
        photo_id=event.photo_id,
        state=outcome.state,
        code=str(error.code),
        error=error.message,
        exc_info=error.__cause__ if error.code is ErrorCode.INTERNAL else None,
    )
    return replace(outcome, error=error.code, error_text=error.message)
