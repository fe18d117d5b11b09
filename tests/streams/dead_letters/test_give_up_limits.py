"""The limits on dead letters, and what an exit status says of the end."""

import pytest

from facepass.cli.exit_statuses import exit_status
from facepass.schemas.errors import ErrorCode, PermanentError, TransientError
from facepass.streams.dead_letters import give_up_limits
from facepass.streams.dead_letters.give_up_limits import DeadLetterLimits

BAD, WORSE = ErrorCode.INVALID_EVENT, ErrorCode.PHOTO_NOT_FOUND
TOPIC, OTHER = "photo-indexed", "photo-deleted"


def test_a_row_ends_with_a_good_event_and_goes_over_batches() -> None:
    limits = DeadLetterLimits(in_a_row=3)
    limits.admit(TOPIC, [BAD, BAD, BAD, None])
    limits.admit(TOPIC, [BAD, BAD])
    limits.admit(TOPIC, [])
    limits.admit(TOPIC, [BAD])
    with pytest.raises(PermanentError, match="too_many_dead_letters"):
        limits.admit(TOPIC, [BAD, None])


def test_a_refused_batch_is_not_counted() -> None:
    limits = DeadLetterLimits(in_a_row=3, per_minute=100)
    for _ in range(3):
        with pytest.raises(PermanentError):
            limits.admit(TOPIC, [BAD] * 4)
    limits.admit(TOPIC, [BAD] * 3)


def test_a_healthy_topic_does_not_hide_a_sick_one() -> None:
    limits = DeadLetterLimits(in_a_row=3)
    for _ in range(3):
        limits.admit(TOPIC, [BAD])
        limits.admit(OTHER, [None])
    with pytest.raises(PermanentError):
        limits.admit(TOPIC, [BAD])


def test_a_minute_counts_what_good_events_lie_between(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(give_up_limits, "monotonic", lambda: now)
    limits = DeadLetterLimits(per_minute=3)
    limits.admit(TOPIC, [BAD, None, BAD, None])
    limits.admit(OTHER, [WORSE, None])
    with pytest.raises(PermanentError):
        limits.admit(TOPIC, [BAD])
    now += 61
    limits.admit(TOPIC, [BAD, None, BAD, None, BAD])


def test_zero_is_no_limit() -> None:
    DeadLetterLimits().admit(TOPIC, [BAD] * 10_000)


def test_the_failure_names_the_most_frequent_code_the_setting_and_what_to_do() -> None:
    with pytest.raises(PermanentError) as caught:
        DeadLetterLimits(in_a_row=3).admit(TOPIC, [BAD, WORSE, WORSE, WORSE])
    assert caught.value.code is ErrorCode.TOO_MANY_DEAD_LETTERS
    for expected in ("3 of them for photo_not_found", "FACEPASS_DEAD_LETTERS_IN_A_ROW is 3", "Mend the cause"):
        assert expected in caught.value.message


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (None, 0),
        (PermanentError(ErrorCode.TOO_MANY_DEAD_LETTERS, ""), 3),
        (TransientError(ErrorCode.STALLED, ""), 4),
        (PermanentError(ErrorCode.NOT_MIGRATED, ""), 1),
        (ZeroDivisionError(), 1),
    ],
)
def test_exit_statuses(error: Exception | None, status: int) -> None:
    assert exit_status(error) == status
