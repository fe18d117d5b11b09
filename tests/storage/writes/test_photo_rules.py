"""The rules of fences, duplicates and retries, as values."""

from dataclasses import replace
from datetime import timedelta

import pytest
from support.ledger import at, outcome, photo_event

from facepass.schemas.errors import ErrorCode
from facepass.schemas.ledger import Effect, PhotoState
from facepass.storage.writes.photo_rules import (
    FIRST_RETRY,
    LONGEST_RETRY,
    LedgerRow,
    Unchanged,
    apply_outcome,
    apply_registration,
    judge_processing,
    judge_registration,
)

PHOTO = photo_event("s", "p", 10)
EVENT = PHOTO.event
TERMINAL = [PhotoState.INDEXED, PhotoState.NO_FACE, PhotoState.FILTERED]
OPEN = [PhotoState.PENDING, PhotoState.FAILED]


def _row(state: PhotoState | None, seconds: float | None, fence: float | None = None) -> LedgerRow:
    return LedgerRow(
        state=state,
        occurred_at=None if seconds is None else at(seconds),
        fence=None if fence is None else at(fence),
    )


@pytest.mark.parametrize("fence", [10, 11])
@pytest.mark.parametrize("state", [None, *PhotoState])
def test_a_fence_at_or_after_the_event_stops_it(state: PhotoState | None, fence: float) -> None:
    row = _row(state, None if state is None else 5, fence)
    for judge in (judge_processing, judge_registration):
        unchanged = judge(row, EVENT)
        assert unchanged is not None
        assert (unchanged.effect, unchanged.code) == (Effect.FENCED, ErrorCode.FENCED)


@pytest.mark.parametrize("state", [*TERMINAL, *OPEN])
def test_an_event_older_than_the_row_is_a_duplicate(state: PhotoState) -> None:
    for judge in (judge_processing, judge_registration):
        unchanged = judge(_row(state, 11), EVENT)
        assert unchanged is not None
        assert unchanged.effect is Effect.DUPLICATE


@pytest.mark.parametrize("state", TERMINAL)
def test_the_event_of_a_settled_row_is_a_duplicate(state: PhotoState) -> None:
    unchanged = judge_processing(_row(state, 10), EVENT)
    assert unchanged is not None
    assert unchanged.effect is Effect.DUPLICATE


@pytest.mark.parametrize("state", OPEN)
def test_the_event_of_an_open_row_is_processed_but_not_registered_again(state: PhotoState) -> None:
    assert judge_processing(_row(state, 10), EVENT) is None
    unchanged = judge_registration(_row(state, 10), EVENT)
    assert unchanged is not None
    assert unchanged.effect is Effect.DUPLICATE


@pytest.mark.parametrize("state", [None, *PhotoState])
def test_a_newer_event_passes(state: PhotoState | None) -> None:
    row = _row(state, None if state is None else 8, 9)
    assert judge_processing(row, EVENT) is None
    assert judge_registration(row, EVENT) is None


@pytest.mark.parametrize("state", [None, PhotoState.DELETED, *TERMINAL])
def test_without_a_time_of_its_own_an_event_never_passes_a_fence(state: PhotoState | None) -> None:
    event = EVENT.model_copy(update={"occurred_at_given": False})
    row = _row(state, None if state is None else 5, 1)
    unchanged = judge_registration(row, event)
    assert unchanged is not None
    assert (unchanged.effect, unchanged.code) == (Effect.FENCED, ErrorCode.OCCURRED_AT_REQUIRED)
    assert judge_registration(replace(row, fence=None), event) is None


def test_an_event_without_a_time_that_is_registered_already_is_processed_despite_an_older_fence() -> None:
    assert (
        judge_processing(_row(PhotoState.PENDING, 10, 1), EVENT.model_copy(update={"occurred_at_given": False}))
        is None
    )


def _apply(
    row: LedgerRow, state: PhotoState, *, now: float = 0, error: ErrorCode | None = None
) -> LedgerRow | None:
    """The row after an outcome; None if it stays as it is."""
    after = apply_outcome(
        row, outcome(PHOTO, state, error=error), revision=7, now=at(now), retry_hours=24, spread=1.0
    )
    if isinstance(after, Unchanged):
        assert after.effect is Effect.DUPLICATE
        return None
    return after


def test_registering_keeps_stamp_and_faces() -> None:
    row = LedgerRow(
        state=PhotoState.INDEXED, occurred_at=at(1), revision=4, faces_stored=2, faces_detected=3, attempts=5
    )
    assert apply_registration(row, EVENT) == replace(row, state=PhotoState.PENDING, occurred_at=at(10), attempts=0)


def test_a_transient_failure_keeps_stamp_and_faces_and_is_tried_again_later_and_later() -> None:
    row = LedgerRow(state=PhotoState.PENDING, occurred_at=at(10), revision=4, faces_stored=2, faces_detected=3)
    pauses = []
    for attempt in range(1, 13):
        after = _apply(row, PhotoState.PENDING, now=attempt)
        assert after is not None
        assert (after.revision, after.faces_stored, after.faces_detected) == (4, 2, 3)
        assert (after.attempts, after.first_failed_at) == (attempt, at(1))
        assert after.next_attempt_at is not None
        pauses.append(after.next_attempt_at - at(attempt))
        row = after
    assert pauses[:3] == [FIRST_RETRY, 2 * FIRST_RETRY, 4 * FIRST_RETRY]
    assert pauses[-1] == LONGEST_RETRY
    assert pauses == sorted(pauses)


def test_a_photo_that_fails_for_longer_than_the_retry_hours_is_failed() -> None:
    row = LedgerRow(
        state=PhotoState.PENDING, occurred_at=at(10), first_failed_at=at(0), faces_stored=2, attempts=3
    )
    almost = _apply(row, PhotoState.PENDING, now=timedelta(hours=24).total_seconds() - 1)
    after = _apply(row, PhotoState.PENDING, now=timedelta(hours=24).total_seconds())
    assert almost is not None and almost.state is PhotoState.PENDING
    assert after is not None
    assert (after.state, after.error) == (PhotoState.FAILED, ErrorCode.STORE_UNAVAILABLE)
    assert (after.revision, after.faces_stored, after.next_attempt_at) == (7, 0, None)


def test_a_failed_photo_is_never_made_pending_by_its_own_event() -> None:
    row = LedgerRow(state=PhotoState.FAILED, occurred_at=at(10), error=ErrorCode.DAMAGED_IMAGE, attempts=1)
    assert _apply(row, PhotoState.PENDING) is None
    assert _apply(row, PhotoState.FAILED, error=ErrorCode.DAMAGED_IMAGE) is None
    other = _apply(row, PhotoState.FAILED, error=ErrorCode.PHOTO_NOT_FOUND)
    better = _apply(row, PhotoState.INDEXED)
    assert other is not None and other.error is ErrorCode.PHOTO_NOT_FOUND
    assert better is not None
    assert (better.state, better.error, better.attempts) == (PhotoState.INDEXED, None, 2)


def test_a_newer_event_starts_its_own_count_of_attempts_and_failures() -> None:
    row = LedgerRow(state=PhotoState.PENDING, occurred_at=at(1), attempts=9, first_failed_at=at(-100_000))
    after = _apply(row, PhotoState.PENDING)
    assert after is not None
    assert (after.state, after.attempts, after.first_failed_at) == (PhotoState.PENDING, 1, at(0))
