"""A publisher for a process that has other work while Kafka is absent: it opens when Kafka is there."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import asynccontextmanager
from typing import TypeVar

from facepass.schemas.errors import ErrorCode, FacePassError, TransientError
from facepass.schemas.events import Event
from facepass.schemas.ledger import Origin
from facepass.schemas.logs import get_logger
from facepass.schemas.settings import KafkaSettings
from facepass.streams.kafka.publisher import Publisher, open_publisher

_log = get_logger(__name__)

_PUBLISH_SECONDS = 10.0
"""How long a caller waits for Kafka to take its events; the producer's own limit is 40 s."""

_PAUSE_SECONDS = 5.0
"""Between two attempts to open."""

T = TypeVar("T")


class ReconnectingPublisher:
    """A publisher like `Publisher`, which says `broker_unavailable` at once as long as there was no Kafka yet."""

    def __init__(self) -> None:
        self._opened: Publisher | None = None

    async def publish(self, event: Event, *, origin_api: bool = False) -> Origin:
        """Publish one event like `Publisher.publish`, for at most 10 s."""
        return await _in_time(self._publisher().publish(event, origin_api=origin_api))

    async def publish_all(self, events: Sequence[Event]) -> Sequence[Origin]:
        """Publish many like `Publisher.publish_all`, for at most 10 s."""
        return await _in_time(self._publisher().publish_all(events))

    async def open_forever(self, settings: KafkaSettings) -> None:
        """Open a producer as soon as Kafka is there, and keep it until this is cancelled.

        A refusal of Kafka's is no reason for a serving process to end: it is logged, and tried again.
        """
        while True:
            try:
                async with open_publisher(settings) as self._opened:  # for `publish`, in other tasks
                    await asyncio.Event().wait()
            except TransientError as exc:
                _log.warning("publisher_waits", error=exc)
            except FacePassError as exc:
                _log.error("publisher_refused", error=exc)
            finally:
                self._opened = None
            await asyncio.sleep(_PAUSE_SECONDS)

    def _publisher(self) -> Publisher:
        if self._opened is None:
            raise TransientError(ErrorCode.BROKER_UNAVAILABLE, "Kafka does not answer: try again later")
        return self._opened


async def _in_time(sending: Awaitable[T]) -> T:
    try:
        async with asyncio.timeout(_PUBLISH_SECONDS):
            return await sending
    except TimeoutError as exc:
        raise TransientError(
            ErrorCode.BROKER_UNAVAILABLE, f"Kafka did not take it within {_PUBLISH_SECONDS:.0f} s"
        ) from exc


@asynccontextmanager
async def open_reconnecting_publisher(settings: KafkaSettings) -> AsyncIterator[ReconnectingPublisher]:
    """A publisher for the life of the context, which is there at once and waits for Kafka by itself."""
    publisher = ReconnectingPublisher()
    opening = asyncio.create_task(publisher.open_forever(settings), name="publisher")
    try:
        yield publisher
    finally:
        opening.cancel()
        await asyncio.gather(opening, return_exceptions=True)
