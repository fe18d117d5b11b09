"""A bound on what is under way at once, without a queue."""

from collections.abc import Iterator
from contextlib import contextmanager

from facepass.schemas.errors import ErrorCode, TransientError


class Slots:
    """At most `limit` slots are taken at a time. For one event loop: it has no lock."""

    def __init__(self, limit: int, *, what: str = "searches") -> None:
        self._limit = limit
        self._what = what
        self._taken = 0

    @contextmanager
    def taken(self, wanted: int = 1) -> Iterator[None]:
        """Hold so many slots for the block; all there are, if more are wanted.

        Raises:
            TransientError: `overloaded`, at once, if they are not free.
        """
        wanted = min(wanted, self._limit)
        if self._taken + wanted > self._limit:
            raise TransientError(
                ErrorCode.OVERLOADED, f"too many {self._what} are under way; try again shortly", limit=self._limit
            )
        self._taken += wanted
        try:
            yield
        finally:
            self._taken -= wanted
