"""A bound on what is under way at once, without a queue."""

from collections.abc import Iterator
from contextlib import contextmanager

from facepass.schemas.errors import ErrorCode, TransientError


class Slots:
    """At most `limit` holders at a time. For one event loop: it has no lock."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._taken = 0

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Hold a slot for the block.

        Raises:
            TransientError: `overloaded`, at once, if none is free.
        """
        if self._taken >= self._limit:
            raise TransientError(
                ErrorCode.OVERLOADED, "too many searches are under way; try again shortly", limit=self._limit
            )
        self._taken += 1
        try:
            yield
        finally:
            self._taken -= 1
