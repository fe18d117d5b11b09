"""The bodies of the legacy routes: events, as the first generation's clients know them."""

from datetime import UTC, datetime
from typing import Annotated
from uuid import UUID

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, RootModel, StrictStr
from pydantic.config import JsonDict

from facepass.schemas.http.body import AnswerModel, RequestModel
from facepass.schemas.ids import storable_text
from facepass.schemas.similarity import DEFAULT_THRESHOLD

MAX_EVENTS_LISTED = 1000

_MAX_NUMBER = 2**53 - 1
"""The largest integer that every JSON reader keeps exact; more events than there will ever be."""

_MAX_CHARACTERS = 1000
"""Of a name or a place; far more than any real one."""

_EVENT: JsonDict = {
    "id": 1,
    "event_uuid": "0f8fad5b-d9cb-469f-a165-70867728950e",
    "name": "Autumn fair",
    "location": "Moscow",
    "event_date": "2026-05-09T12:00:00Z",
    "created_at": "2026-05-01T09:30:00Z",
}


def _text_time(value: object) -> object:
    if value is not None and not isinstance(value, str | datetime):
        raise ValueError("must be a date or time such as 2026-05-09 or 2026-05-09T12:30:00Z")
    return value


def _in_utc(value: datetime) -> datetime:
    """The time; one without a zone is UTC: the first generation's clients sent none."""
    try:
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    except OverflowError as exc:
        raise ValueError("lies outside the years 1 to 9999") from exc


_Text = Annotated[StrictStr, Field(min_length=1, max_length=_MAX_CHARACTERS), AfterValidator(storable_text)]
_Time = Annotated[datetime, BeforeValidator(_text_time), AfterValidator(_in_utc)]
EventNumber = Annotated[int, Field(ge=1, le=_MAX_NUMBER)]


class NewEvent(RequestModel):
    """The body that creates an event."""

    name: _Text
    location: _Text | None = None
    event_date: _Time | None = Field(default=None, description="a date or time; without a zone it is UTC")

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"name": "Autumn fair", "location": "Moscow", "event_date": "2026-05-09"}]}
    )


class EventBody(AnswerModel):
    """An event: the session whose id is its `event_uuid`."""

    id: int = Field(ge=1, description="its number, the `event_id` of the other legacy routes")
    event_uuid: UUID = Field(description="the session's id")
    name: str
    location: str | None
    event_date: datetime | None
    created_at: datetime

    model_config = ConfigDict(json_schema_extra={"examples": [_EVENT]})


class EventList(RootModel[list[EventBody]]):
    """Events, oldest first."""

    model_config = ConfigDict(frozen=True, json_schema_extra={"examples": [[_EVENT]]})


class EventUploadFields(RequestModel):
    """The fields of an upload beside the photo."""

    event_id: EventNumber = Field(description="the event's number")


class EventSearchFields(RequestModel):
    """The fields of a search beside the selfie."""

    event_id: EventNumber = Field(description="the event's number")
    threshold: float = Field(
        default=DEFAULT_THRESHOLD,
        ge=0,
        le=1,
        description="least similarity of a match; 0.7 is every model's own operating point",
    )


class EventPage(RequestModel):
    """The choice of the events to list."""

    skip: int = Field(default=0, ge=0, le=_MAX_NUMBER, description="events to leave out at the beginning")
    limit: int = Field(default=100, ge=1, le=MAX_EVENTS_LISTED, description="events listed at most")
