"""The sweep: what was left behind is taken up again, pending photos and dead letters that were never written.

Each swept photo is settled for itself, so none waits for another: neither for one that hangs nor for a batch.
"""

import asyncio

from facepass.schemas.errors import TransientError
from facepass.schemas.ledger import PhotoEvent
from facepass.schemas.logs import get_logger
from facepass.schemas.metrics import photos_swept_total
from facepass.storage.writes import claim_overdue, letters_owed, note_letters
from facepass.streams.dead_letters import rebuilt_dead_letter, send_dead_letter
from facepass.streams.ingest.pipeline import Pipeline, Task, index_photos, sweep_places
from facepass.streams.process import Worker, until_available

_log = get_logger(__name__)


async def sweep_forever(pipeline: Pipeline, worker: Worker) -> None:
    """Write the letters that are owed; then, every `sweep_seconds`, take up the photos whose next attempt is due.

    Raises:
        PermanentError: `too_many_dead_letters`, in a group.
    """
    await until_available(lambda: write_owed_letters(pipeline), waiting_for="PostgreSQL")
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
    for event in overdue:
        task = group.create_task(_index(pipeline, worker, event))
        task.add_done_callback(lambda _: places.release())
        worker.watch(task)
    return bool(overdue)


async def _index(pipeline: Pipeline, worker: Worker, event: PhotoEvent) -> None:
    photos_swept_total.inc()
    with worker.batch():
        await index_photos(pipeline, [Task(event=event, swept=True)])


async def write_owed_letters(pipeline: Pipeline) -> None:
    """Write the dead letters of failed photos whose process died, or was ended, before it had written them.

    Raises:
        TransientError: `database_unavailable`; what is not written by then stays owed.
    """
    async for owed in letters_owed(pipeline.store):
        for event, code in owed:
            await send_dead_letter(pipeline.outlet, rebuilt_dead_letter(event, code, str(code)))
        await note_letters(pipeline.store, [event for event, _ in owed])
        _log.warning("dead_letters_made_up_for", letters=len(owed))
