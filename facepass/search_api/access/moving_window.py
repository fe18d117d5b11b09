"""The memory in which limits are counted when there is no Redis: of a bounded size, whoever calls.

It stands in for the library's own memory, which keeps a lock for every caller, looks at all of them at every call,
and has no bound. A moving window holds the times of a caller's calls that count: within any window of the limit's
length there are never more of them than the limit, and a call is refused only when there are that many.
"""

import time
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field

from limits.aio.storage import MemoryStorage

MAX_CALLS = 1_000_000
"""Times kept in all, about 40 MB. Beyond that the caller who was let through longest ago is forgotten."""


@dataclass(slots=True)
class _Window:
    calls: deque[float] = field(default_factory=deque)
    """Times, oldest first."""
    length: float = 0.0


class BoundedMemory(MemoryStorage):
    """Moving windows of callers, in the order in which each was last let through. For one event loop."""

    def __init__(self, *, clock: Callable[[], float] = time.time, max_calls: int = MAX_CALLS) -> None:
        super().__init__()
        self._clock = clock
        self._max_calls = max_calls
        self._windows: OrderedDict[str, _Window] = OrderedDict()
        self._calls = 0

    def __len__(self) -> int:
        """The number of callers that are known."""
        return len(self._windows)

    # The library's `MovingWindowRateLimiter` calls these two, from `rate_limits._hit`.
    async def acquire_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        """Count `amount` calls, or none if there are too many already."""
        now = self._clock()
        self._forget_idle(now)
        window = self._windows.get(key) or _Window()
        window.length = expiry
        self._trim(window, now)
        if len(window.calls) + amount > limit:
            return False
        window.calls.extend([now] * amount)
        self._calls += amount
        self._windows[key] = window
        self._windows.move_to_end(key)
        while self._calls > self._max_calls:
            self._drop_first()
        return True

    async def get_moving_window(self, key: str, limit: int, expiry: int) -> tuple[float, int]:  # noqa: ARG002
        """The time of the oldest call that counts, and how many do."""
        now = self._clock()
        window = self._windows.get(key)
        if window is None:
            return now, 0
        self._trim(window, now)
        return (window.calls[0], len(window.calls)) if window.calls else (now, 0)

    def _trim(self, window: _Window, now: float) -> None:
        while window.calls and window.calls[0] <= now - window.length:
            window.calls.popleft()
            self._calls -= 1

    def _forget_idle(self, now: float) -> None:
        """Drop callers none of whose calls count any more: two a call, so that they go faster than they come."""
        for _ in range(2):
            window = next(iter(self._windows.values()), None)
            if window is None or (window.calls and window.calls[-1] > now - window.length):
                return
            self._drop_first()

    def _drop_first(self) -> None:
        _, window = self._windows.popitem(last=False)
        self._calls -= len(window.calls)
