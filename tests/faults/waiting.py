"""Waiting for what must become true."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def wait_for(look: Callable[[], T], within: float, what: Callable[[], str] | str, *, every: float = 0.2) -> T:
    """Ask until the answer is true, and return it.

    Raises:
        AssertionError: it never was; `what` says what was waited for.
    """
    deadline = time.monotonic() + within
    while True:
        if found := look():
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {within} s for {what if isinstance(what, str) else what()}")
        time.sleep(every)
