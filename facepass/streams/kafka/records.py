"""One record as Kafka has it, and what its bytes mean."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

from facepass.schemas.errors import FacePassError
from facepass.schemas.events import Event, PhotoIndexed, decode_event
from facepass.schemas.ledger import Origin, PhotoEvent
from facepass.streams.kafka.publisher import ORIGIN_API, ORIGIN_HEADER, DeadLetter

E = TypeVar("E", bound=Event)


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What came in, undecoded. `recorded_at` is the record's own timestamp."""

    origin: Origin
    value: bytes | None
    key: bytes | None
    headers: tuple[tuple[str, bytes], ...]
    recorded_at: datetime

    def decode(self, kind: type[E]) -> E:
        """Decode as an event of the record's topic.

        Raises:
            PermanentError: as `decode_event`.
        """
        return decode_event(
            kind,
            self.value,
            recorded_at=self.recorded_at,
            may_lead=(ORIGIN_HEADER, ORIGIN_API) in self.headers,
        )

    def dead_letter(self, error: FacePassError, occurred_at: datetime | None = None) -> DeadLetter:
        """The record as given up; `occurred_at` of an event that could be decoded."""
        return DeadLetter(
            value=self.value,
            key=self.key,
            headers=self.headers,
            origin=self.origin,
            occurred_at=occurred_at or self.recorded_at,
            code=error.code,
            text=error.message,
        )


def record_from_message(message: Any) -> Record:
    """The record behind a Faust event: its `message`, whose bytes Faust has not touched."""
    headers = message.headers or ()
    pairs: Iterable[tuple[str, bytes]] = headers.items() if isinstance(headers, dict) else headers
    return Record(
        origin=Origin(topic=message.topic, partition=message.partition, offset=message.offset),
        value=message.value,
        key=message.key,
        headers=tuple((name, value or b"") for name, value in pairs),
        recorded_at=_recorded_at(message.timestamp),
    )


def record_from_consumer(message: Any) -> Record:
    """The record that aiokafka itself has read, timed as Faust times it."""
    return Record(
        origin=Origin(topic=message.topic, partition=message.partition, offset=message.offset),
        value=message.value,
        key=message.key,
        headers=tuple((name, value or b"") for name, value in message.headers),
        recorded_at=_recorded_at(message.timestamp / 1000.0 if message.timestamp is not None else None),
    )


def photo_event(event: PhotoIndexed, origin: Origin) -> PhotoEvent:
    """The event as the write doors take it."""
    return PhotoEvent(
        session_id=event.session_id,
        photo_id=event.photo_id,
        s3_key=event.s3_key,
        occurred_at=event.occurred_at,
        occurred_at_given=event.occurred_at_given,
        origin=origin,
    )


def _recorded_at(seconds: float | None) -> datetime:
    """A producer may stamp a record with anything, or with nothing: then the time of reading stands in."""
    try:
        return datetime.fromtimestamp(seconds, UTC) if seconds and seconds > 0 else datetime.now(UTC)
    except (OverflowError, ValueError, OSError):
        return datetime.now(UTC)
