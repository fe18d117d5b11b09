"""The events on the topics: JSON in and out, one schema each, unknown fields ignored."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, ClassVar, Protocol, TypeVar

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    StrictStr,
    ValidationError,
)
from pydantic_core import from_json

from facepass.schemas.errors import ErrorCode, PermanentError, invalid_input
from facepass.schemas.ids import PhotoIdField, SessionIdField, storable_text
from facepass.schemas.ledger import Origin, UpdateStatus

MAX_AHEAD = timedelta(minutes=5)
"""How far an event's `occurred_at` may lie after its record's timestamp: a clock that runs further ahead
would fence photos of the future."""

MAX_S3_KEY_BYTES = 1024
"""The limit of S3 itself."""

MAX_NAME_CHARACTERS = 1000
"""Of a session's name and of a studio's id; far more than any real one."""


def _text_time(value: object) -> object:
    if not isinstance(value, str | datetime):
        raise ValueError("must be an RFC 3339 string such as 2026-05-09T12:30:00Z")  # noqa: TRY004 - pydantic wants ValueError
    return value


def _utc(value: datetime) -> datetime:
    try:
        return value.astimezone(UTC)
    except OverflowError as exc:
        raise ValueError("lies outside the years 1 to 9999") from exc


def _short_key(value: str) -> str:
    if len(value.encode()) > MAX_S3_KEY_BYTES:
        raise ValueError(f"must have at most {MAX_S3_KEY_BYTES} bytes")
    return value


OccurredAt = Annotated[AwareDatetime, BeforeValidator(_text_time), AfterValidator(_utc)]
S3KeyText = Annotated[StrictStr, Field(min_length=1), AfterValidator(storable_text), AfterValidator(_short_key)]
_Text = Annotated[StrictStr, Field(max_length=MAX_NAME_CHARACTERS), AfterValidator(storable_text)]


class Event(BaseModel):
    """The base of all events: what every one has.

    Attributes:
        occurred_at: when it happened, by the producer's clock; the record's timestamp if the producer gave none.
        occurred_at_given: whether the producer gave it. Without one, an event never passes an existing fence.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    topic: ClassVar[str]

    session_id: SessionIdField
    occurred_at: OccurredAt
    occurred_at_given: bool = Field(default=True, exclude=True)

    def to_bytes(self) -> bytes:
        """The event as a record's value: JSON, fields that are None left out."""
        return self.model_dump_json(exclude_none=True).encode()


class PhotoIndexed(Event):
    """The event of an uploaded photo: index it."""

    topic = "photo-indexed"

    photo_id: PhotoIdField
    s3_key: S3KeyText


class PhotoDeleted(Event):
    """The event of a deleted photo: forget its faces."""

    topic = "photo-deleted"

    photo_id: PhotoIdField


class SessionDeleted(Event):
    """The event of a deleted session: forget the faces of all its photos."""

    topic = "session-deleted"


class SessionUpdated(Event):
    """The event of a session that was announced or changed."""

    topic = "session-updated"

    name: _Text | None = None
    studio_id: Annotated[_Text, BeforeValidator(lambda v: str(v) if type(v) is int else v)] | None = None
    facepass_enabled: StrictBool = True


class IndexUpdate(Event):
    """The outcome of an event: a hint to whoever holds the session's shard or waits for the photo.

    Attributes:
        generation: number of the generation that the revision belongs to.
        revision: of the session after the change; shards below it are out of date.
        photo_id: absent for a whole session.
        faces_detected: with those that the quality gate left out.
        confidence: of the most confident face.
        code: the error code, if there is one.
    """

    topic = "index-updates"

    generation: int
    revision: int = Field(ge=0)
    status: UpdateStatus
    photo_id: PhotoIdField | None = None
    faces_detected: int = 0
    confidence: float | None = None
    code: ErrorCode | None = None


class EventPublisher(Protocol):
    """The port for events that FacePass publishes for a caller: Kafka, when it is there."""

    async def publish(self, event: Event, *, origin_api: bool = False) -> Origin:
        """Publish one event; returns once Kafka has it.

        Args:
            origin_api: the event is a deletion of our own, whose `occurred_at` may lead the record's timestamp.

        Raises:
            TransientError: `broker_unavailable`: Kafka may have it or not.
            PermanentError: `event_refused`.
        """

    async def publish_all(self, events: Sequence[Event]) -> Sequence[Origin]:
        """Publish many at once; errors as of `publish`, when Kafka may have some of them."""


DEAD_LETTERS_TOPIC = "facepass-dead-letters"

E = TypeVar("E", bound=Event)


def decode_event(kind: type[E], value: bytes | None, *, recorded_at: datetime, may_lead: bool = False) -> E:
    """Decode one record's value.

    Args:
        kind: the event class of the record's topic.
        value: the record's bytes; None is a tombstone, which no topic of ours has.
        recorded_at: the record's own timestamp, aware; stands in for an absent `occurred_at`.
        may_lead: accept an `occurred_at` far ahead of `recorded_at` (deletions that FacePass itself published).

    Raises:
        PermanentError: `invalid_event`, `invalid_id` or `occurred_at_ahead`; never repeats the content.
    """
    fields = _json_object(kind, value)
    given = fields.get("occurred_at") is not None
    fields["occurred_at_given"] = given
    if not given:
        fields["occurred_at"] = recorded_at.astimezone(UTC).isoformat()
    try:
        event = kind.model_validate(fields)
    except ValidationError as exc:
        raise invalid_input(
            exc, code=ErrorCode.INVALID_EVENT, missing_id=ErrorCode.INVALID_ID, subject=f"{kind.topic}: "
        ) from exc
    if event.occurred_at - recorded_at > MAX_AHEAD and not may_lead:
        raise PermanentError(
            ErrorCode.OCCURRED_AT_AHEAD,
            f"{kind.topic}: occurred_at lies more than {MAX_AHEAD} after the record's timestamp;"
            " check the producer's clock and send the event again",
        )
    return event


def _json_object(kind: type[Event], value: bytes | None) -> dict[str, Any]:
    try:
        fields = from_json(value or b"")
    except ValueError as exc:
        raise PermanentError(ErrorCode.INVALID_EVENT, f"{kind.topic}: the value is not JSON") from exc
    if not isinstance(fields, dict):
        raise PermanentError(ErrorCode.INVALID_EVENT, f"{kind.topic}: the value is not a JSON object")
    return fields
