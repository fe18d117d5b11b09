"""A bound on what is under way at once, without a queue."""

from collections.abc import Iterator
from contextlib import contextmanager

from facepass.schemas.errors import ErrorCode, TransientError


class ConcurrencyLimit:
    """A limit on how many are under way at a time. For one event loop: it has no lock."""

    def __init__(self, limit: int, *, what: str = "searches") -> None:
        self._limit = limit
        self._what = what
        self._under_way = 0

    @contextmanager
    def counted(self, as_many: int = 1) -> Iterator[None]:
        """Count as so many for the block; as all there may be, if that is less.

        Raises:
            TransientError: `overloaded`, at once, if that is more than may be under way.
        """
        as_many = min(as_many, self._limit)
        if self._under_way + as_many > self._limit:
            raise TransientError(
                ErrorCode.OVERLOADED, f"too many {self._what} are under way; try again shortly", limit=self._limit
            )
        self._under_way += as_many
        try:
            yield
        finally:
            self._under_way -= as_many
