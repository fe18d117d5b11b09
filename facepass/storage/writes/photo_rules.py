"""The rules on what an event may do to a photo, and what is told of it then: fences, duplicates and retries, as
plain functions on values."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from facepass.schemas.errors import ErrorCode
from facepass.schemas.events import IndexUpdate, PhotoIndexed
from facepass.schemas.ledger import Effect, PhotoState, UpdateStatus
from facepass.schemas.photo_events import PhotoEvent, PhotoOutcome

_OPEN = (PhotoState.PENDING, PhotoState.FAILED)
"""States in which the same event may be tried again."""

FIRST_RETRY = timedelta(seconds=10)
"""Pause after a photo's first failure; the pauses double from there."""

LONGEST_RETRY = timedelta(minutes=30)
"""Longest pause between two attempts: how late a photo appears after a long outage of the photo store."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerRow:
    """The database's word on a photo for one generation: its row, or that there is none, and its fence.

    Attributes:
        state: None if the generation has no row of the photo.
        occurred_at: of the event that the row rests on.
        revision: the row's stamp.
        faces_stored, faces_detected, confidence: of the faces stored, and of those found with them.
        error: code of the last failure of this event.
        attempts: of this event.
        first_failed_at: when this event first failed; of a failed photo it stands only until its dead letter is
            written (`note_dead_letters`).
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

    def rests_on(self, event: PhotoIndexed) -> bool:
        """True if the row is about this very event (or one of the same time)."""
        return self.state not in (None, PhotoState.DELETED) and self.occurred_at == event.occurred_at

    def rests_on_newer(self, event: PhotoIndexed) -> bool:
        """True if the row is about a newer event."""
        if self.state is None or self.state is PhotoState.DELETED or self.occurred_at is None:
            return False
        return self.occurred_at > event.occurred_at


@dataclass(frozen=True, slots=True, kw_only=True)
class Unchanged:
    """The verdict that an event changes nothing, and why: `code` for one that a fence stops."""

    effect: Effect
    code: ErrorCode | None = None


_DUPLICATE = Unchanged(effect=Effect.DUPLICATE)
_FENCED = Unchanged(effect=Effect.FENCED, code=ErrorCode.FENCED)
_NEEDS_TIME = Unchanged(effect=Effect.FENCED, code=ErrorCode.OCCURRED_AT_REQUIRED)


def judge_processing(row: LedgerRow, event: PhotoIndexed) -> Unchanged | None:
    """The reason why there is nothing to do for `event`; None if the photo must be fetched and its faces written.

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


def judge_registration(row: LedgerRow, event: PhotoIndexed) -> Unchanged | None:
    """The reason not to register `event` as pending, or None: only a newer one makes a photo pending (again)."""
    return judge_processing(row, event) or (_DUPLICATE if row.rests_on(event) else None)


def apply_registration(row: LedgerRow, event: PhotoIndexed) -> LedgerRow:
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
    row: LedgerRow, outcome: PhotoOutcome, *, revision: int, now: datetime, retry_hours: float, spread: float
) -> LedgerRow | Unchanged:
    """The row after `outcome`. Unchanged, if `judge_processing` stops its event or it says nothing new.

    A photo that failed stays failed when the same event fails again, in the same way or for now only: a redelivery
    during an outage of the photo store must not leave it pending. After `retry_hours` of transient failures a
    pending photo is failed.

    Args:
        revision: the session's next one, for the stamp; a photo still pending keeps its own.
        now: the database's time.
        spread: 0.5 to 1.5, random: keeps photos that failed together from being tried again together.
    """
    event = outcome.photo.event
    if unchanged := judge_processing(row, event):
        return unchanged
    again = row.rests_on(event)
    state, error = outcome.state, outcome.error
    failing_since = (row.first_failed_at if again else None) or now
    if state is PhotoState.PENDING:
        if again and row.state is PhotoState.FAILED:
            return _DUPLICATE
        if now - failing_since >= timedelta(hours=retry_hours):
            state, error = PhotoState.FAILED, ErrorCode.STORE_UNAVAILABLE
    if again and row.state is PhotoState.FAILED and (state, error) == (row.state, row.error):
        return _DUPLICATE
    after = replace(
        row,
        state=state,
        occurred_at=event.occurred_at,
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


def _with_faces(row: LedgerRow, outcome: PhotoOutcome) -> LedgerRow:
    found = outcome.found
    if found is None:
        return replace(row, faces_stored=0, faces_detected=0, confidence=None)
    confidences = [face.confidence for face in found.faces] + [face.confidence for face in found.left_out]
    return replace(
        row,
        faces_stored=len(found.faces),
        faces_detected=len(confidences),
        confidence=max(confidences, default=None),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """The outcome of one photo event. `update` is what to publish on `index-updates`, for duplicates too."""

    effect: Effect
    update: IndexUpdate


def answer(
    photo: PhotoEvent, row: LedgerRow, *, generation: int, revision: int, unchanged: Unchanged | None = None
) -> Written:
    """The outcome for `photo`, of which `row` is the row as it is now.

    Args:
        revision: the session's, for an event that a fence stops: the row is not about it.
        unchanged: why it changed nothing, if so. Of a duplicate the row is told again.
    """
    effect, event = unchanged.effect if unchanged else Effect.WRITTEN, photo.event
    fenced = effect is Effect.FENCED
    about = LedgerRow(revision=revision, error=unchanged.code) if unchanged and fenced else row
    # Not validated: all of it comes from an event that was, or from the database.
    update = IndexUpdate.model_construct(
        session_id=event.session_id,
        photo_id=event.photo_id,
        occurred_at=about.occurred_at or event.occurred_at,
        generation=generation,
        revision=about.revision,
        status=UpdateStatus.FENCED if about.state is None else UpdateStatus(about.state),
        faces_detected=about.faces_detected,
        confidence=about.confidence,
        code=about.error,
    )
    return Written(effect=effect, update=update)
