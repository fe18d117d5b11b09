"""What an event may do to a photo: the rules of fences, duplicates and retries, as plain functions on values."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from facepass.schemas.errors import ErrorCode
from facepass.schemas.ledger import Effect, PhotoEvent, PhotoOutcome, PhotoState

_OPEN = (PhotoState.PENDING, PhotoState.FAILED)
"""States in which the same event may be tried again."""

FIRST_RETRY = timedelta(seconds=10)
"""Pause after a photo's first failure; the pauses double from there."""

LONGEST_RETRY = timedelta(minutes=30)
"""Longest pause between two attempts: how late a photo appears after a long outage of the photo store."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What the database holds of a photo for one generation.

    Attributes:
        state: None if the generation has no row of the photo.
        occurred_at: of the event that the row rests on.
        revision: the row's stamp.
        faces_stored, faces_detected, confidence: of the faces stored, and of those found with them.
        error: code of the last failure of this event.
        attempts: of this event.
        first_failed_at: when this event first failed; of a failed photo it stands only until its dead letter is
            written (`note_letters`).
        fence: the later of the photo's and its session's; None if neither was ever deleted.
    """

    state: PhotoState | None = None
    occurred_at: datetime | None = None
    revision: int = 0
    faces_stored: int = 0
    faces_detected: int = 0
    confidence: float | None = None
    error: ErrorCode | None = None
    attempts: int = 0
    first_failed_at: datetime | None = None
    next_attempt_at: datetime | None = None
    fence: datetime | None = None

    def rests_on(self, event: PhotoEvent) -> bool:
        """Whether the row is about this very event (or one of the same time)."""
        return self.state not in (None, PhotoState.DELETED) and self.occurred_at == event.occurred_at

    def rests_on_newer(self, event: PhotoEvent) -> bool:
        if self.state is None or self.state is PhotoState.DELETED or self.occurred_at is None:
            return False
        return self.occurred_at > event.occurred_at


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """An event that changes nothing, and why: `code` for one that a fence stops."""

    effect: Effect
    code: ErrorCode | None = None


_DUPLICATE = Settled(effect=Effect.DUPLICATE)
_FENCED = Settled(effect=Effect.FENCED, code=ErrorCode.FENCED)
_NEEDS_TIME = Settled(effect=Effect.FENCED, code=ErrorCode.OCCURRED_AT_REQUIRED)


def judge_processing(row: Row, event: PhotoEvent) -> Settled | None:
    """Why there is nothing to do for `event`; None if the photo must be fetched and its faces written.

    An event that the row already rests on passes even without an `occurred_at` of its own: it passed its fence
    when it was registered, and would stay pending for ever if it were stopped now.
    """
    if row.fence is not None and event.occurred_at <= row.fence:
        return _FENCED
    if row.rests_on(event):
        return None if row.state in _OPEN else _DUPLICATE
    if row.rests_on_newer(event):
        return _DUPLICATE
    if row.fence is not None and not event.occurred_at_given:
        return _NEEDS_TIME
    return None


def judge_registration(row: Row, event: PhotoEvent) -> Settled | None:
    """Why `event` is not registered as pending; None if it is: only a newer one makes a photo pending (again)."""
    return judge_processing(row, event) or (_DUPLICATE if row.rests_on(event) else None)


def apply_registration(row: Row, event: PhotoEvent) -> Row:
    """The row once `event` is registered: stamp and stored faces stay."""
    return replace(
        row,
        state=PhotoState.PENDING,
        occurred_at=event.occurred_at,
        error=None,
        attempts=0,
        first_failed_at=None,
    )


def apply_outcome(
    row: Row, outcome: PhotoOutcome, *, revision: int, now: datetime, retry_hours: float, spread: float
) -> Row | None:
    """The row after `outcome`, which `judge_processing` let pass; None if it stays as it is.

    A photo that failed stays failed when the same event fails again, in the same way or for now only: a redelivery
    during an outage of the photo store must not leave it pending. After `retry_hours` of transient failures a
    pending photo is failed.

    Args:
        revision: the session's next one, for the stamp; a photo still pending keeps its own.
        now: the database's time.
        spread: 0.5 to 1.5, random: keeps photos that failed together from being tried again together.
    """
    again = row.rests_on(outcome.event)
    state, error = outcome.state, outcome.error
    failing_since = (row.first_failed_at if again else None) or now
    if state is PhotoState.PENDING:
        if again and row.state is PhotoState.FAILED:
            return None
        if now - failing_since >= timedelta(hours=retry_hours):
            state, error = PhotoState.FAILED, ErrorCode.STORE_UNAVAILABLE
    if again and row.state is PhotoState.FAILED and (state, error) == (row.state, row.error):
        return None
    after = replace(
        row,
        state=state,
        occurred_at=outcome.event.occurred_at,
        error=error,
        attempts=(row.attempts if again else 0) + 1,
        first_failed_at=failing_since if state in _OPEN else None,
    )
    if state is PhotoState.PENDING:
        return replace(after, next_attempt_at=now + spread * _pause(after.attempts))
    return replace(_with_faces(after, outcome), revision=revision, next_attempt_at=None)


def _pause(attempts: int) -> timedelta:
    doublings = min(attempts - 1, 20)
    return min(FIRST_RETRY * float(1 << doublings), LONGEST_RETRY)


def _with_faces(row: Row, outcome: PhotoOutcome) -> Row:
    found = outcome.found
    if found is None:
        return replace(row, faces_stored=0, faces_detected=0, confidence=None)
    confidences = [face.confidence for face in found.faces] + [face.confidence for face in found.left_out]
    return replace(
        row,
        faces_stored=len(found.faces),
        faces_detected=found.detected,
        confidence=max(confidences, default=None),
    )
