"""One record as Kafka has it, what its bytes mean, and what becomes of one that cannot be used."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

from facepass.schemas.errors import ErrorCode
from facepass.schemas.events import Event, decode_event
from facepass.schemas.ledger import Origin

Headers = Sequence[tuple[str, bytes]]

ORIGIN_HEADER = "facepass-origin"
ORIGIN_API = b"api"
"""Marks deletions that FacePass itself published: their `occurred_at` may lead the record's timestamp."""

E = TypeVar("E", bound=Event)


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A record as it came in, undecoded. `recorded_at` is the record's own timestamp."""

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


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """A record that FacePass gave up, and why.

    Attributes:
        record: as it came, so that the event can be sent again unchanged.
        occurred_at: as resolved, whether the event gave it or the record's timestamp stood in.
        code, text: why. Never holds a vector, pixels or a password.
        rebuilt: the record was made anew from the photo's row, because its own was acknowledged long ago.
    """

    record: Record
    occurred_at: datetime
    code: ErrorCode
    text: str
    rebuilt: bool = False


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


def _recorded_at(seconds: float | None) -> datetime:
    """The time. A producer may stamp a record with anything or nothing: then the time of reading stands in."""
    try:
        return datetime.fromtimestamp(seconds, UTC) if seconds and seconds > 0 else datetime.now(UTC)
    except (OverflowError, ValueError, OSError):
        return datetime.now(UTC)
