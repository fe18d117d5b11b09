"""Events: made, listed, and found by their UUID, which is their session's id."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Annotated
from uuid import UUID, uuid4

from fastapi import APIRouter, Depends, Path, Query, Request, Response

from facepass.schemas.callers import Scope
from facepass.schemas.errors import ErrorCode, PermanentError
from facepass.schemas.events import EventPublisher, SessionUpdated
from facepass.schemas.http.legacy_bodies import EventBody, EventList, EventPage, NewEvent
from facepass.schemas.ids import SessionId
from facepass.search_api.access import GUEST_ERRORS, KEY_ERRORS, LIMIT_ERRORS, Guard, GuestDoor
from facepass.search_api.http import documented, documented_body, json_answer, read_json
from facepass.storage import Database
from facepass.storage.callers import LegacyEvent, create_event, event_by_uuid, list_events

MAX_EVENT_BYTES = 64 * 1024
"""Of a new event's JSON; a name and a place of a thousand characters each, escaped, need a fifth."""

READ_ERRORS = (ErrorCode.INVALID_PARAMETER, ErrorCode.INTERNAL, ErrorCode.DATABASE_UNAVAILABLE)
_BODY_ERRORS = (ErrorCode.UPLOAD_TIMEOUT, ErrorCode.FILE_TOO_LARGE)
_KAFKA_ERRORS = (ErrorCode.BROKER_UNAVAILABLE, ErrorCode.EVENT_REFUSED)
CREATE_ERRORS = (*KEY_ERRORS, *LIMIT_ERRORS, *READ_ERRORS, *_BODY_ERRORS, *_KAFKA_ERRORS)


def add_event_creation(
    router: APIRouter, database: Database, publisher: EventPublisher, writing: Callable[..., Awaitable[object]]
) -> None:
    """Create an event. `writing`: the dependency of uploads and new events."""

    @router.post(
        "/events/",
        summary="Create an event",
        response_model=EventBody,
        response_description="The event; its UUID is the id of its session",
        responses=documented(*CREATE_ERRORS),
        dependencies=[Depends(writing)],
        openapi_extra=documented_body(json={"schema": NewEvent.model_json_schema()}),
    )
    async def create(request: Request) -> Response:
        fields = await read_json(request, NewEvent, max_bytes=MAX_EVENT_BYTES)
        uuid, now = uuid4(), datetime.now(UTC)
        # first, since of a call that fails between the two only an empty session is left, whose id nobody knows
        await publisher.publish(SessionUpdated(session_id=str(uuid), name=fields.name, occurred_at=now))
        event = await create_event(database, uuid, fields.name, location=fields.location, date=fields.event_date)
        return json_answer(_body(event))


def add_event_list(router: APIRouter, database: Database, guard: Guard) -> None:
    """List events."""
    tokens = guard.tokens_required

    @router.get(
        "/events/",
        summary="List events",
        response_model=EventList,
        response_description="The events",
        responses=documented(*READ_ERRORS, *(KEY_ERRORS if tokens else ())),
        dependencies=[Depends(guard.key(Scope.READ))] if tokens else [],
    )
    async def events(page: Annotated[EventPage, Query()]) -> Response:
        found = await list_events(database, skip=page.skip, limit=page.limit)
        return json_answer(EventList([_body(event) for event in found]))


def add_event_by_uuid(router: APIRouter, database: Database, door: GuestDoor) -> None:
    """Find an event by its UUID."""

    @router.get(
        "/events/uuid/{event_uuid:segment}",
        summary="Find an event by its UUID",
        response_model=EventBody,
        response_description="The event",
        responses=documented(ErrorCode.EVENT_NOT_FOUND, *GUEST_ERRORS, *READ_ERRORS),
        dependencies=[Depends(door.guard.guest())],
    )
    async def event(
        request: Request, event_uuid: Annotated[UUID, Path(description="its session's id")]
    ) -> Response:
        await door.enter(request, SessionId(str(event_uuid)))
        found = await event_by_uuid(database, event_uuid)
        if found is None:
            raise event_not_found()
        return json_answer(_body(found))


def event_not_found() -> PermanentError:
    """The error of a number or UUID that no event has."""
    return PermanentError(ErrorCode.EVENT_NOT_FOUND, "no such event; it may have been deleted")


def _body(event: LegacyEvent) -> EventBody:
    return EventBody(
        id=event.number,
        event_uuid=event.uuid,
        name=event.name,
        location=event.location,
        event_date=event.date,
        created_at=event.created_at,
    )
