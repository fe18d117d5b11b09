"""Trying again after transient failures: for a short while, or until the other side is back."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import TypeVar

from facepass.schemas.errors import TransientError
from facepass.schemas.logs import get_logger

_log = get_logger(__name__)

_FIRST_PAUSE = 0.1
_LONGEST_PAUSE = 5.0
"""Seconds. Long enough not to hammer a database that starts, short against a time-out that an operator notices."""

_waits = 0

T = TypeVar("T")


def waits_under_way() -> int:
    """The number of calls of `until_available` that wait now: an outage that explains why nothing moves."""
    return _waits


def _pause(attempt: int) -> float:
    """Seconds before the next attempt: doubling, with jitter so that many workers do not come back at once."""
    longest = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2.0 ** min(attempt, 10))
    return longest * random.uniform(0.5, 1.0)  # noqa: S311 - no secret depends on it


async def for_a_while(operation: Callable[[], Awaitable[T]], *, seconds: float) -> T:
    """Call until it succeeds; begins no attempt later than `seconds` after the first.

    Raises:
        TransientError: of the last attempt.
    """
    deadline = monotonic() + seconds
    attempt = 0
    while True:
        try:
            return await operation()
        except TransientError:
            pause = _pause(attempt)
            if monotonic() + pause > deadline:
                raise
        await asyncio.sleep(pause)
        attempt += 1


async def until_available(operation: Callable[[], Awaitable[T]], *, waiting_for: str) -> T:
    """Call until it succeeds, however long that takes, with one line in the log for each failure.

    This is what holds a loop, and with it the offsets, during an outage.
    """
    global _waits  # noqa: PLW0603 - the watchdog asks for the whole process
    attempt = 0
    try:
        while True:
            try:
                result = await operation()
            except TransientError as exc:
                _waits += not attempt
                pause = _pause(attempt)
                attempt += 1
                _log.warning("waiting", waiting_for=waiting_for, error=exc, attempt=attempt, pause=round(pause, 2))
            else:
                if attempt:
                    _log.info("available", waiting_for=waiting_for, attempts=attempt + 1)
                return result
            await asyncio.sleep(pause)
    finally:
        _waits -= bool(attempt)
