"""From photo events to rows: the pipeline that ingest, the sweep and the benchmark share. Knows no Kafka."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass, field, replace
from time import monotonic
from typing import Protocol

from facepass.schemas.errors import ErrorCode, FacePassError, PermanentError, TransientError
from facepass.schemas.events import PhotoIndexed
from facepass.schemas.faces import PhotoFaces
from facepass.schemas.ledger import PhotoEvent, PhotoOutcome, PhotoState
from facepass.schemas.logs import get_logger
from facepass.schemas.metrics import photo_failures_total
from facepass.schemas.settings import IngestSettings
from facepass.storage import Store
from facepass.storage.photos import PhotoStore, StoredPhoto
from facepass.storage.writes import Written, note_letters, save_photos, triage_photos
from facepass.streams.dead_letters import DeadLetterLimits, Outlet, send_dead_letter
from facepass.streams.ingest.reporting import settle_letter, tell
from facepass.streams.kafka import Record
from facepass.streams.process import for_a_while, until_available

_log = get_logger(__name__)

_FETCH_RETRY_SECONDS = 2.0
"""How long a batch waits for a photo store that stumbles: what takes longer is the sweep's. To it, it is slow."""

_FETCH_SECONDS = 5.0
"""How long a batch waits for one photo. A transfer that hangs, or drips, would hold its neighbours for as long as
the photo store's own time-outs last; the sweep, where each photo is settled for itself, lets it take that long."""


class Analyser(Protocol):
    """The part of the face engine that the pipeline uses."""

    @property
    def threads(self) -> int:
        """How many analyses at once make sense."""

    def analyse_photo(self, data: bytes) -> PhotoFaces:
        """Find the faces of one photo; PermanentError when the bytes are no photo that can be read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pipeline:
    """Everything that `index_photos` works with. Make one with `open_pipeline`.

    Attributes:
        room: as many photos of batches as may be in memory at once.
        slow_room: as many swept photos as may be fetched slowly at once.
        threads: where photos are analysed.
        limits: on the photos that are given up for good.
    """

    store: Store
    photo_store: PhotoStore
    engine: Analyser
    outlet: Outlet
    settings: IngestSettings
    room: asyncio.Semaphore
    slow_room: asyncio.Semaphore
    threads: ThreadPoolExecutor
    limits: DeadLetterLimits


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One photo to index.

    Attributes:
        record: what it came in, for a dead letter; None when the sweep took it from its row.
        swept: whether the sweep took it up, which sees to it that not too many are in memory.
        taken_at: monotonic seconds.
    """

    event: PhotoEvent
    record: Record | None = None
    swept: bool = False
    taken_at: float = field(default_factory=monotonic)


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A task before its transaction: settled earlier already, or with an outcome to write."""

    task: Task
    settled: Written | None = None
    outcome: PhotoOutcome | None = None
    error: FacePassError | None = None


@asynccontextmanager
async def open_pipeline(
    *,
    store: Store,
    photo_store: PhotoStore,
    engine: Analyser,
    outlet: Outlet,
    settings: IngestSettings,
    limits: DeadLetterLimits | None = None,
) -> AsyncIterator[Pipeline]:
    """A pipeline with its threads, for the life of the block. Without `limits` it may give up every photo."""
    threads = ThreadPoolExecutor(max_workers=engine.threads, thread_name_prefix="analyse")
    try:
        yield Pipeline(
            store=store,
            photo_store=photo_store,
            engine=engine,
            outlet=outlet,
            settings=settings,
            room=asyncio.Semaphore(max(settings.fetch_concurrency, engine.threads)),
            slow_room=asyncio.Semaphore(sweep_places(settings) // 2),
            threads=threads,
            limits=limits or DeadLetterLimits(),
        )
    finally:
        threads.shutdown(wait=False, cancel_futures=True)


def sweep_places(settings: IngestSettings) -> int:
    """How many photos the sweep takes up at once. Half of them may be slow: the others never wait for those."""
    return max(settings.fetch_concurrency // 2, 2)


async def index_photos(pipeline: Pipeline, tasks: Sequence[Task]) -> list[Written]:
    """Index a batch: triage, fetch, analyse, save in one transaction, publish. The result keeps the order.

    Every photo is settled when this returns: in the ledger, published, and where it was given up for good, on the
    dead letters. An outage of PostgreSQL or Kafka holds it until that is over.

    Raises:
        PermanentError: `too_many_dead_letters`; nothing of the batch is settled then.
    """
    return await settle_photos(pipeline, await prepare_photos(pipeline, tasks))


async def prepare_photos(pipeline: Pipeline, tasks: Sequence[Task]) -> list[Prepared]:
    """The half without effects: may run while an earlier batch is still being settled."""
    events = [task.event for task in tasks]
    settled = await until_available(lambda: triage_photos(pipeline.store, events), waiting_for="PostgreSQL")
    return await asyncio.gather(
        *(
            _prepare(pipeline, task) if written is None else _already(task, written)
            for task, written in zip(tasks, settled, strict=True)
        )
    )


async def settle_photos(pipeline: Pipeline, prepared: Sequence[Prepared]) -> list[Written]:
    """The half with effects, in this order: rows, updates, dead letters. A crash between repeats, never skips: the
    records of a batch come again, and rows remember the dead letters that are owed.

    Raises:
        PermanentError: `too_many_dead_letters`; nothing of the batch is settled then.
    """
    pipeline.limits.admit(PhotoIndexed.topic, _verdicts(prepared))
    outcomes = [item.outcome for item in prepared if item.outcome is not None]
    saved = iter(await _save(pipeline, outcomes))
    written = [item.settled or next(saved) for item in prepared]
    await until_available(
        lambda: pipeline.outlet.publish_all([one.update for one in written]), waiting_for="Kafka"
    )
    given_up = []
    for item, one in zip(prepared, written, strict=True):
        if letter := settle_letter(item.task.event, item.task.record, item.error, one):
            await send_dead_letter(pipeline.outlet, letter)
            given_up.append(item.task.event)
        tell(item.task.event, item.outcome, one, taken_at=item.task.taken_at)
    await until_available(lambda: note_letters(pipeline.store, given_up), waiting_for="PostgreSQL")
    return written


def _verdicts(prepared: Sequence[Prepared]) -> list[ErrorCode | None]:
    """What the limits count: photos given up, and those that came out well. The rest proves nothing."""
    outcomes = [item.outcome for item in prepared if item.outcome is not None]
    return [outcome.error for outcome in outcomes if outcome.state is not PhotoState.PENDING]


async def _save(pipeline: Pipeline, outcomes: Sequence[PhotoOutcome]) -> Sequence[Written]:
    if not outcomes:
        return []
    return await until_available(
        lambda: save_photos(pipeline.store, outcomes, retry_hours=pipeline.settings.retry_hours),
        waiting_for="PostgreSQL",
    )


async def _already(task: Task, written: Written) -> Prepared:
    return Prepared(task=task, settled=written)


async def _prepare(pipeline: Pipeline, task: Task) -> Prepared:
    """Fetch and analyse one photo; whatever goes wrong becomes its outcome and leaves its neighbours alone."""
    pending = PhotoOutcome(event=task.event, state=PhotoState.PENDING)
    try:
        async with nullcontext() if task.swept else pipeline.room:
            stored = await (_fetch_swept if task.swept else _fetch)(pipeline, task)
            found = await _analyse(pipeline, stored)
    except TransientError as exc:
        return _failed(task, replace(pending, error=exc.code), exc)
    except PermanentError as exc:
        return _failed(task, replace(pending, state=PhotoState.FAILED, error=exc.code), exc)
    except Exception as exc:
        error = PermanentError(ErrorCode.INTERNAL, f"a defect: {type(exc).__name__}")
        error.__cause__ = exc
        return _failed(task, replace(pending, state=PhotoState.FAILED, error=error.code), error)
    outcome = replace(pending, state=_state(found), found=found, etag=stored.etag)
    return Prepared(task=task, outcome=outcome)


async def _fetch(pipeline: Pipeline, task: Task) -> StoredPhoto:
    try:
        async with asyncio.timeout(_FETCH_SECONDS):
            return await _try(pipeline, task)
    except TimeoutError:
        raise _unread(_FETCH_SECONDS) from None


async def _fetch_swept(pipeline: Pipeline, task: Task) -> StoredPhoto:
    """As long as the photo store's own time-outs let it take, unless there are enough slow ones."""
    fetching = asyncio.create_task(_try(pipeline, task))
    try:
        done, _ = await asyncio.wait([fetching], timeout=_FETCH_RETRY_SECONDS)
        if not done and pipeline.slow_room.locked():
            raise _unread(_FETCH_RETRY_SECONDS)
        async with nullcontext() if done else pipeline.slow_room:
            return await fetching
    finally:
        fetching.cancel()


async def _try(pipeline: Pipeline, task: Task) -> StoredPhoto:
    return await for_a_while(lambda: pipeline.photo_store.fetch(task.event.s3_key), seconds=_FETCH_RETRY_SECONDS)


def _unread(seconds: float) -> TransientError:
    return TransientError(ErrorCode.STORE_UNAVAILABLE, f"photo store: not read within {seconds:.0f} s")


async def _analyse(pipeline: Pipeline, stored: StoredPhoto) -> PhotoFaces:
    loop = asyncio.get_running_loop()
    return await loop.run_in_executor(pipeline.threads, pipeline.engine.analyse_photo, stored.data)


def _state(found: PhotoFaces) -> PhotoState:
    if found.faces:
        return PhotoState.INDEXED
    return PhotoState.FILTERED if found.left_out else PhotoState.NO_FACE


def _failed(task: Task, outcome: PhotoOutcome, error: FacePassError) -> Prepared:
    event = task.event
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
    return Prepared(task=task, outcome=outcome, error=error)
