"""The subject of one run, and the second look at a difference before it counts."""

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from facepass.schemas.ids import SessionId
from facepass.storage import Store
from facepass.storage.reads import Difference

_AGAIN_SECONDS = 0.5
"""Between two looks at a difference."""

_TELL_SECONDS = 2.0


class Progress:
    """The progress of a run, on standard error; a line every two seconds at most, none for what is quick."""

    def __init__(self) -> None:
        self._told = time.monotonic()

    def tell(self, what: str, done: int, total: int) -> None:
        """Print how far the run is with `what`, unless a line was printed less than two seconds ago."""
        if time.monotonic() >= self._told + _TELL_SECONDS:
            self._told = time.monotonic()
            print(f"{what}: {done} of {total}", file=sys.stderr, flush=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """The subject of a comparison.

    Attributes:
        session: this one alone; None: all.
        patience: seconds to wait for intake, and for a shard that is behind or changing.
    """

    store: Store
    session: SessionId | None = None
    patience: float = 30.0
    progress: Progress = field(default_factory=Progress)


async def twice(look: Callable[[], Awaitable[list[Difference]]]) -> list[Difference]:
    """The differences that `look` finds, and finds again a moment later, as they are then."""
    first = {difference.key for difference in await look()}
    if not first:
        return []
    await asyncio.sleep(_AGAIN_SECONDS)
    return [difference for difference in await look() if difference.key in first]
