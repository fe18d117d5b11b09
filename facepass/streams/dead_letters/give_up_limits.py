"""The limits on dead letters: when nearly everything fails, the events are not what is wrong."""

from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from time import monotonic

from facepass.schemas.errors import ErrorCode, PermanentError
from facepass.schemas.settings import GuardSettings

_WINDOW_SECONDS = 60.0


@dataclass(slots=True, kw_only=True)
class _Streak:
    """Codes of the dead letters in a row, and how many there were."""

    total: int = 0
    codes: Counter[ErrorCode] = field(default_factory=Counter)


class DeadLetterLimits:
    """The count of what one worker gives up, over all its agents. A limit of 0 is none."""

    def __init__(self, *, in_a_row: int = 0, per_minute: int = 0) -> None:
        self._in_a_row = in_a_row
        self._per_minute = per_minute
        self._streaks: dict[str, _Streak] = {}
        self._minute: deque[tuple[float, ErrorCode]] = deque()

    def admit(self, topic: str, codes: Sequence[ErrorCode | None]) -> None:
        """Count a batch that is about to be written; one that would pass a limit is not counted.

        Args:
            topic: what comes in a row is counted for each topic: a healthy one must not hide a sick one.
            codes: in order; of an event that is to become a dead letter, and None of a good one. Events that prove
                nothing, such as duplicates, are left out.

        Raises:
            PermanentError: `too_many_dead_letters`, naming the most frequent code, the limit, and what to do.
                Nothing of the batch may then be written, published or acknowledged.
        """
        streak = self._streak_after(topic, codes)
        given_up = [code for code in codes if code is not None]
        now = monotonic()
        while self._minute and self._minute[0][0] < now - _WINDOW_SECONDS:
            self._minute.popleft()
        if self._per_minute and given_up and len(self._minute) + len(given_up) > self._per_minute:
            minute = Counter([code for _, code in self._minute] + given_up)
            raise _too_many(minute, f"within a minute, FACEPASS_DEAD_LETTERS_PER_MINUTE is {self._per_minute}")
        self._streaks[topic] = streak
        self._minute.extend((now, code) for code in given_up)

    def _streak_after(self, topic: str, codes: Sequence[ErrorCode | None]) -> _Streak:
        before = self._streaks.get(topic, _Streak())
        streak = _Streak(total=before.total, codes=Counter(before.codes))
        for code in codes:
            if code is None:
                streak = _Streak()
                continue
            streak.total += 1
            streak.codes[code] += 1
            if self._in_a_row and streak.total > self._in_a_row:
                raise _too_many(streak.codes, f"in a row, FACEPASS_DEAD_LETTERS_IN_A_ROW is {self._in_a_row}")
        return streak


def limits_of(settings: GuardSettings) -> DeadLetterLimits:
    """The limits that the settings state."""
    return DeadLetterLimits(in_a_row=settings.dead_letters_in_a_row, per_minute=settings.dead_letters_per_minute)


def _too_many(codes: Counter[ErrorCode], where: str) -> PermanentError:
    code, count = codes.most_common(1)[0]
    return PermanentError(
        ErrorCode.TOO_MANY_DEAD_LETTERS,
        f"too many events cannot be used ({codes.total()} {where}), {count} of them for {code}. Nothing of the"
        " last batch was written or acknowledged: its events come again. Mend the cause, or raise the limit, then"
        " start again",
        most_frequent=code,
    )
