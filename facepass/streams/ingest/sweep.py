"""The sweep: what was left behind is taken up again, pending photos and dead letters that were never written.

Each swept photo is settled for itself, so none waits for another: neither for one that hangs nor for a batch.
"""

import asyncio

from facepass.schemas.errors import TransientError
from facepass.schemas.logs import get_logger
from facepass.schemas.metrics import photos_swept_total
from facepass.schemas.photo_events import PhotoEvent
from facepass.storage.writes import claim_overdue, note_dead_letters, owed_dead_letters
from facepass.streams.dead_letters import rebuilt_dead_letter, send_dead_letter
from facepass.streams.ingest.pipeline import Pipeline, Task, sweep_places
from facepass.streams.ingest.settling import index_photos
from facepass.streams.process import Worker, until_available

_log = get_logger(__name__)


async def sweep_forever(pipeline: Pipeline, worker: Worker) -> None:
    """Write owed dead letters; then, every `sweep_seconds`, take up the photos whose next attempt is due.

    Raises:
        PermanentError: `too_many_dead_letters`, in a group.
    """
    await until_available(lambda: write_owed_dead_letters(pipeline), waiting_for="PostgreSQL")
    places = asyncio.Semaphore(sweep_places(pipeline.settings))
    async with asyncio.TaskGroup() as group:
        while not worker.stopping:
            await asyncio.sleep(pipeline.settings.sweep_seconds)
            try:
                while not worker.stopping and await take_up(pipeline, worker, places, group):
                    pass
            except TransientError as exc:
                _log.warning("sweep_postponed", error=exc)


async def take_up(pipeline: Pipeline, worker: Worker, places: asyncio.Semaphore, group: asyncio.TaskGroup) -> bool:
    """Wait for a place, claim the photo that is longest overdue, and index it in a task of `group`.

    Returns whether there was one.

    Raises:
        TransientError: `database_unavailable`.
    """
    await places.acquire()
    overdue: list[PhotoEvent] = []
    try:
        overdue = await claim_overdue(pipeline.store, 1)
    finally:
        if not overdue:
            places.release()
    for photo in overdue:
        task = group.create_task(_index(pipeline, worker, photo))
        task.add_done_callback(lambda _: places.release())
        worker.fail_if_cancelled(task)
    return bool(overdue)


async def _index(pipeline: Pipeline, worker: Worker, photo: PhotoEvent) -> None:
    photos_swept_total.inc()
    with worker.batch():
        await index_photos(pipeline, [Task(photo=photo)])


async def write_owed_dead_letters(pipeline: Pipeline) -> None:
    """Write the dead letters of failed photos whose process died, or was ended, before it had written them.

    Raises:
        TransientError: `database_unavailable`; what is not written by then stays owed.
    """
    async for owed in owed_dead_letters(pipeline.store):
        for photo, code in owed:
            await send_dead_letter(pipeline.outlet, rebuilt_dead_letter(photo, code, str(code)))
        await note_dead_letters(pipeline.store, [photo for photo, _ in owed])
        _log.warning("dead_letters_made_up_for", letters=len(owed))
