"""The half of indexing that writes: rows, updates, dead letters, metrics, a log line. In this order."""

from collections.abc import Sequence
from time import monotonic

from facepass.schemas.errors import ErrorCode
from facepass.schemas.events import PhotoIndexed
from facepass.schemas.ledger import Effect, PhotoState, UpdateStatus
from facepass.schemas.logs import get_logger
from facepass.schemas.metrics import faces_left_out_total, index_duration_seconds, index_requests_total
from facepass.schemas.photo_events import PhotoOutcome
from facepass.storage.writes import Written, note_dead_letters, save_photos
from facepass.streams.dead_letters import rebuilt_dead_letter, send_dead_letter
from facepass.streams.ingest.pipeline import Pipeline, Task
from facepass.streams.ingest.preparation import prepare_photos
from facepass.streams.kafka import DeadLetter
from facepass.streams.process import until_available

_log = get_logger(__name__)


async def index_photos(pipeline: Pipeline, tasks: Sequence[Task]) -> list[Written]:
    """Index a batch: triage, fetch, analyse, save in one transaction, publish. The result keeps the order.

    Every photo is settled when this returns: in the ledger, published, and where it was given up for good, on the
    dead letters. An outage of PostgreSQL or Kafka holds it until that is over.

    Raises:
        PermanentError: `too_many_dead_letters`; nothing of the batch is settled then.
    """
    return await settle_photos(pipeline, tasks, await prepare_photos(pipeline, tasks))


async def settle_photos(
    pipeline: Pipeline, tasks: Sequence[Task], prepared: Sequence[Written | PhotoOutcome]
) -> list[Written]:
    """Save, publish and report what `prepare_photos` made of `tasks`. A crash in between repeats, never skips: the
    records of a batch come again, and rows remember the dead letters that are owed.

    Raises:
        PermanentError: `too_many_dead_letters`; nothing of the batch is settled then.
    """
    outcomes = [one for one in prepared if isinstance(one, PhotoOutcome)]
    # Photos given up, and those that came out well. The rest proves nothing.
    codes = [outcome.error for outcome in outcomes if outcome.state is not PhotoState.PENDING]
    pipeline.limits.admit(PhotoIndexed.topic, codes)
    saved = iter(await _save(pipeline, outcomes))
    written = [one if isinstance(one, Written) else next(saved) for one in prepared]
    await until_available(
        lambda: pipeline.outlet.publish_all([one.update for one in written]), waiting_for="Kafka"
    )
    given_up = []
    for task, one, now in zip(tasks, prepared, written, strict=True):
        outcome = one if isinstance(one, PhotoOutcome) else None
        if letter := _dead_letter(task, outcome, now):
            await send_dead_letter(pipeline.outlet, letter)
            given_up.append(task.photo)
        _count_and_log(task, outcome, now)
    if given_up:
        await until_available(lambda: note_dead_letters(pipeline.store, given_up), waiting_for="PostgreSQL")
    return written


async def _save(pipeline: Pipeline, outcomes: Sequence[PhotoOutcome]) -> list[Written]:
    hours = pipeline.settings.retry_hours
    return await until_available(
        lambda: save_photos(pipeline.store, outcomes, retry_hours=hours), waiting_for="PostgreSQL"
    )


def _dead_letter(task: Task, outcome: PhotoOutcome | None, written: Written) -> DeadLetter | None:
    """The dead letter of a photo that was given up; None for every other.

    A photo whose record is gone, because the sweep took it from its row, gets one rebuilt from the row. A record
    that comes again and finds its photo failed by itself gets its dead letter again: whoever wrote the row may
    have died before that.
    """
    if written.update.status is not UpdateStatus.FAILED:
        return None
    photo, record = task.photo, task.record
    about_it = written.update.occurred_at == photo.event.occurred_at
    again = record is not None and written.effect is Effect.DUPLICATE and about_it
    if written.effect is not Effect.WRITTEN and not again:
        return None
    code = written.update.code or ErrorCode.INTERNAL
    text = (outcome and outcome.error_text) or str(code)
    if record is None:
        return rebuilt_dead_letter(photo, code, text)
    return DeadLetter(record=record, occurred_at=photo.event.occurred_at, code=code, text=text)


def _count_and_log(task: Task, outcome: PhotoOutcome | None, written: Written) -> None:
    event, update = task.photo.event, written.update
    applied = written.effect is Effect.WRITTEN
    label = str(update.status) if applied else str(written.effect)
    index_requests_total.labels(outcome=label).inc()
    index_duration_seconds.observe(monotonic() - task.taken_at)
    if applied and outcome is not None and outcome.found is not None:
        for face in outcome.found.left_out:
            faces_left_out_total.labels(reason=face.reason).inc()
    log = _log.info if written.effect is Effect.FENCED else _log.debug
    log(
        "photo_settled",
        session_id=event.session_id,
        photo_id=event.photo_id,
        outcome=label,
        code=str(update.code) if update.code else None,
        faces=update.faces_detected,
        revision=update.revision,
    )
