"""The outlet that intake and ingest put what they publish in, and the way of an event that is given up to it."""

from collections.abc import Sequence
from typing import Protocol

from facepass.schemas.errors import ErrorCode
from facepass.schemas.events import Event
from facepass.schemas.photo_events import PhotoEvent
from facepass.streams.kafka import DeadLetter, Record
from facepass.streams.process import until_available


class Outlet(Protocol):
    """The outlet of updates and dead letters: a `Publisher`, or whatever a test listens with."""

    async def publish_all(self, events: Sequence[Event]) -> object:
        """Publish what the rows now say."""

    async def publish_dead_letter(self, letter: DeadLetter) -> object:
        """Publish a record that was given up."""


async def send_dead_letter(outlet: Outlet, letter: DeadLetter) -> None:
    """Put a record on the dead letters, however long Kafka takes."""
    await until_available(lambda: outlet.publish_dead_letter(letter), waiting_for="Kafka")


def rebuilt_dead_letter(photo: PhotoEvent, code: ErrorCode, text: str) -> DeadLetter:
    """The dead letter of a photo of which only the row is left: its record is made anew."""
    event = photo.event
    record = Record(
        origin=photo.origin,
        value=event.to_bytes(),
        key=event.photo_id.encode(),
        headers=(),
        recorded_at=event.occurred_at,
    )
    return DeadLetter(record=record, occurred_at=event.occurred_at, code=code, text=text, rebuilt=True)
