"""What a settled photo leaves behind besides its row: a dead letter where it was given up, metrics, a log line."""

from time import monotonic

from facepass.schemas.errors import ErrorCode, FacePassError
from facepass.schemas.ledger import Effect, PhotoEvent, PhotoOutcome, UpdateStatus
from facepass.schemas.logs import get_logger
from facepass.schemas.metrics import faces_left_out_total, index_duration_seconds, index_requests_total
from facepass.storage.writes import Written
from facepass.streams.dead_letters import rebuilt_dead_letter
from facepass.streams.kafka import DeadLetter, Record

_log = get_logger(__name__)


def settle_letter(
    event: PhotoEvent, record: Record | None, error: FacePassError | None, written: Written
) -> DeadLetter | None:
    """The dead letter of a photo that was given up; None for every other.

    A photo whose record is gone, because the sweep took it from its row, gets one rebuilt from the row. A record
    that comes again and finds its photo failed by itself gets its letter again: whoever wrote the row may have
    died before the letter.
    """
    if written.update.status is not UpdateStatus.FAILED:
        return None
    again = record is not None and written.effect is Effect.DUPLICATE and _rests_on(written, event)
    if written.effect is not Effect.WRITTEN and not again:
        return None
    code = written.update.code or ErrorCode.INTERNAL
    text = error.message if error is not None else str(code)
    if record is None:
        return rebuilt_dead_letter(event, code, text)
    return DeadLetter(record=record, occurred_at=event.occurred_at, code=code, text=text)


def _rests_on(written: Written, event: PhotoEvent) -> bool:
    """Whether what the row says is about this very event."""
    return written.update.occurred_at == event.occurred_at


def tell(event: PhotoEvent, outcome: PhotoOutcome | None, written: Written, *, taken_at: float) -> None:
    """Count and log one settled photo."""
    applied = written.effect is Effect.WRITTEN
    label = str(written.update.status) if applied else str(written.effect)
    index_requests_total.labels(outcome=label).inc()
    index_duration_seconds.observe(monotonic() - taken_at)
    if applied and outcome is not None and outcome.found is not None:
        for face in outcome.found.left_out:
            faces_left_out_total.labels(reason=face.reason).inc()
    log = _log.info if written.effect is Effect.FENCED else _log.debug
    log(
        "photo_settled",
        session_id=event.session_id,
        photo_id=event.photo_id,
        outcome=label,
        code=str(written.update.code) if written.update.code else None,
        faces=written.update.faces_detected,
        revision=written.update.revision,
    )
