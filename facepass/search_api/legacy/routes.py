"""The first generation's routes, for clients that still call them. Thin, and on their way out.

An event is a session whose id is the event's UUID: `POST /events/` announces that session as Pixora announces
its own, an upload is the upload of any other photo, and both searches are `POST /search`. To take the routes out,
delete this room, `schemas/http/legacy_bodies.py`, `storage/callers/legacy_events.py` with its statements, the
tests, and the line of `app.py` that names it; a migration then drops the table and its trigger.
"""

from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Annotated, Any
from uuid import UUID, uuid4

import structlog
from fastapi import APIRouter, Depends, HTTPException, Path, Query, Request, Response
from fastapi.routing import APIRoute
from pydantic import BaseModel
from starlette.datastructures import MutableHeaders
from starlette.types import Message, Receive, Scope, Send

from facepass.embedding import read_checked_header
from facepass.schemas.callers import Scope as KeyScope
from facepass.schemas.errors import ErrorCode, PermanentError
from facepass.schemas.events import SessionUpdated
from facepass.schemas.http.index_bodies import IndexAnswer, IndexPending
from facepass.schemas.http.legacy_bodies import (
    EventBody,
    EventList,
    EventPage,
    EventSearchFields,
    EventUploadFields,
    NewEvent,
)
from facepass.schemas.http.search_bodies import SearchAnswer, SearchParameters
from facepass.schemas.ids import PhotoId, SessionId
from facepass.search_api.access import GUEST_ERRORS, KEY_ERRORS, LIMIT_ERRORS, Guard
from facepass.search_api.http import (
    ConcurrencyLimit,
    checked_fields,
    documented,
    read_form,
    read_json,
)
from facepass.search_api.indexing import (
    PHOTO_ERRORS,
    UPLOADS_AT_ONCE,
    Wanted,
    as_response,
    index_wanted,
    measured,
)
from facepass.search_api.parts import Parts
from facepass.search_api.searching import SEARCH_ERRORS, SearchForm, request_body, search_endpoint
from facepass.storage.callers import LegacyEvent, create_event, event_by_number, event_by_uuid, list_events

DEPRECATED = {
    "Deprecation": "@1708905600",
    "Link": '</docs>; rel="deprecation"; type="text/html", </api/v2/search>; rel="successor-version"',
}
"""RFC 9745. The time is 26 February 2024, when the second generation's guide took these routes out."""

MAX_EVENT_BYTES = 64 * 1024
"""Of a new event's JSON; a name and a place of a thousand characters each, escaped, need a fifth."""

READ_ERRORS = (ErrorCode.INVALID_PARAMETER, ErrorCode.INTERNAL, ErrorCode.DATABASE_UNAVAILABLE)
_BODY_ERRORS = (ErrorCode.UPLOAD_TIMEOUT, ErrorCode.FILE_TOO_LARGE)
_KAFKA_ERRORS = (ErrorCode.BROKER_UNAVAILABLE, ErrorCode.EVENT_REFUSED)
CREATE_ERRORS = (*KEY_ERRORS, *LIMIT_ERRORS, *READ_ERRORS, *_BODY_ERRORS, *_KAFKA_ERRORS)
_OF_NO_UPLOAD = (ErrorCode.IDEMPOTENCY_MISMATCH, ErrorCode.REQUEST_UNDER_WAY, ErrorCode.INVALID_S3_KEY)
UPLOAD_ERRORS = (ErrorCode.EVENT_NOT_FOUND, *(code for code in PHOTO_ERRORS if code not in _OF_NO_UPLOAD))

Endpoint = Callable[..., Awaitable[Response]]


def legacy_routes(parts: Parts, guard: Guard, threads: Executor, slots: ConcurrencyLimit) -> APIRouter:
    """The legacy routes; none of them with `FACEPASS_LEGACY=off`.

    Uploads and new events need a key with scope index, unless the setting is `open`: then they are limited by
    the client's address, as searches are. The rest is public like `POST /search`, and tied to the session's token
    where that is. The list of events tells of every session: where tokens are required it needs a key with scope
    read.
    """
    router = APIRouter(tags=["legacy"], route_class=_DeprecatedRoute, deprecated=True)
    if parts.access.legacy != "off":
        _add_events(router, parts, guard)
        _add_upload(router, parts, guard)
        _add_searches(router, parts, guard, threads, slots)
    return router


class _DeprecatedRoute(APIRoute):
    """A route whose every answer says that it is deprecated, errors too."""

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_on(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(DEPRECATED)
            await send(message)

        await super().handle(scope, receive, send_on)


class _EventsRoute(_DeprecatedRoute):
    """One of the two routes of `/events/`: by itself each would say that it allows its own method alone."""

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] not in {"GET", "POST"}:
            raise HTTPException(HTTPStatus.METHOD_NOT_ALLOWED, headers={"Allow": "GET, POST"})
        await super().handle(scope, receive, send)


def _add_events(router: APIRouter, parts: Parts, guard: Guard) -> None:
    tokens = parts.access.session_tokens == "required"
    router.add_api_route(
        "/events/",
        _create(parts),
        methods=["POST"],
        summary="Create an event",
        response_model=EventBody,
        response_description="The event; its UUID is the id of its session",
        responses=documented(*CREATE_ERRORS),
        dependencies=[Depends(_writing(parts, guard))],
        openapi_extra=_json_body(NewEvent),
        route_class_override=_EventsRoute,
    )
    router.add_api_route(
        "/events/",
        _list(parts),
        methods=["GET"],
        summary="List events",
        response_model=EventList,
        response_description="The events",
        responses=documented(*READ_ERRORS, *(KEY_ERRORS if tokens else ())),
        dependencies=[Depends(guard.key(KeyScope.READ))] if tokens else [],
        route_class_override=_EventsRoute,
    )
    router.add_api_route(
        "/events/uuid/{event_uuid:segment}",
        _by_uuid(parts, guard),
        methods=["GET"],
        summary="Find an event by its UUID",
        response_model=EventBody,
        response_description="The event",
        responses=documented(ErrorCode.EVENT_NOT_FOUND, *GUEST_ERRORS, *READ_ERRORS),
        dependencies=[Depends(guard.guest())],
    )


def _writing(parts: Parts, guard: Guard) -> Callable[..., Awaitable[object]]:
    """The dependency of uploads and new events."""
    return guard.limit_index() if parts.access.legacy == "keys" else guard.limit_search()


def _create(parts: Parts) -> Endpoint:
    async def create(request: Request) -> Response:
        fields = await read_json(request, NewEvent, max_bytes=MAX_EVENT_BYTES)
        uuid, now = uuid4(), datetime.now(UTC)
        # first, since of a call that fails between the two only an empty session is left, whose id nobody knows
        await parts.events.publish(SessionUpdated(session_id=str(uuid), name=fields.name, occurred_at=now))
        event = await create_event(
            parts.store.database, uuid, fields.name, location=fields.location, date=fields.event_date
        )
        return _answer(_body(event))

    return create


def _list(parts: Parts) -> Endpoint:
    async def events(page: Annotated[EventPage, Query()]) -> Response:
        found = await list_events(parts.store.database, skip=page.skip, limit=page.limit)
        return _answer(EventList([_body(event) for event in found]))

    return events


def _by_uuid(parts: Parts, guard: Guard) -> Endpoint:
    async def event(
        request: Request, event_uuid: Annotated[UUID, Path(description="its session's id")]
    ) -> Response:
        session_id = SessionId(str(event_uuid))
        structlog.contextvars.bind_contextvars(session_id=session_id)
        await guard.check_guest(request, session_id)
        found = await event_by_uuid(parts.store.database, event_uuid)
        if found is None:
            raise _not_found()
        return _answer(_body(found))

    return event


def _add_upload(router: APIRouter, parts: Parts, guard: Guard) -> None:
    router.add_api_route(
        "/faces/upload",
        _upload(parts),
        methods=["POST"],
        summary="Index a photo of an event",
        response_model=IndexAnswer,
        response_description="Indexed, under a photo id of FacePass's own",
        responses={
            202: {"model": IndexPending, "description": "accepted, not indexed yet"},
            **documented(*UPLOAD_ERRORS),
        },
        dependencies=[Depends(_writing(parts, guard))],
        openapi_extra=_form_body(EventUploadFields),
    )


def _upload(parts: Parts) -> Endpoint:
    uploads = ConcurrencyLimit(UPLOADS_AT_ONCE, what="uploads")

    async def upload(request: Request) -> Response:
        with measured("legacy_upload") as call, uploads.taken():
            form = await read_form(request, max_bytes=parts.settings.selfie_max_bytes)
            event = await _event(parts, checked_fields(form.fields, EventUploadFields).event_id)
            (image,) = form.images
            read_checked_header(image, parts.settings.selfie_max_pixels)
            wanted = Wanted(session_id=event.session_id, photo_id=PhotoId(str(uuid4())), image=image)
            structlog.contextvars.bind_contextvars(session_id=wanted.session_id, photo_id=wanted.photo_id)
            answer = await index_wanted(parts, request, wanted)
            call.pending = answer.status == HTTPStatus.ACCEPTED
            return as_response(answer)

    return upload


async def _event(parts: Parts, number: int) -> LegacyEvent:
    event = await event_by_number(parts.store.database, number)
    if event is None:
        raise _not_found()
    return event


def _add_searches(
    router: APIRouter, parts: Parts, guard: Guard, threads: Executor, slots: ConcurrencyLimit
) -> None:
    router.add_api_route(
        "/faces/search-session",
        search_endpoint(parts, guard, threads, slots),
        methods=["POST"],
        summary="POST /search by its old name; nothing is indexed by it",
        response_model=SearchAnswer,
        response_description="The matches, best first",
        responses=documented(*SEARCH_ERRORS),
        dependencies=[Depends(guard.limit_search()), Depends(guard.guest())],
        openapi_extra=request_body(),
    )
    router.add_api_route(
        "/faces/search",
        search_endpoint(parts, guard, threads, slots, _event_search(parts)),
        methods=["POST"],
        summary="Find the photos of the person on a selfie in an event",
        response_model=SearchAnswer,
        response_description="The matches, best first",
        responses=documented(ErrorCode.EVENT_NOT_FOUND, *SEARCH_ERRORS),
        dependencies=[Depends(guard.limit_search()), Depends(guard.guest())],
        openapi_extra=_form_body(EventSearchFields),
    )


def _event_search(parts: Parts) -> Callable[[Request, int], Awaitable[SearchForm]]:
    async def read(request: Request, _max_bytes: int) -> SearchForm:
        """The form of an event's search as that of its session."""
        form = await read_form(request, max_bytes=parts.settings.selfie_max_bytes)
        fields = checked_fields(form.fields, EventSearchFields)
        event = await _event(parts, fields.event_id)
        parameters = SearchParameters(session_id=event.session_id, threshold=fields.threshold)
        return SearchForm(selfies=form.images, parameters=parameters)

    return read


def _body(event: LegacyEvent) -> EventBody:
    return EventBody(
        id=event.number,
        event_uuid=event.uuid,
        name=event.name,
        location=event.location,
        event_date=event.date,
        created_at=event.created_at,
    )


def _answer(body: BaseModel) -> Response:
    return Response(body.model_dump_json(), media_type="application/json")


def _not_found() -> PermanentError:
    return PermanentError(ErrorCode.EVENT_NOT_FOUND, "no such event; it may have been deleted")


def _json_body(model: type[BaseModel]) -> dict[str, Any]:
    return {
        "requestBody": {"required": True, "content": {"application/json": {"schema": model.model_json_schema()}}}
    }


def _form_body(model: type[BaseModel]) -> dict[str, Any]:
    """The form's OpenAPI description: the image and the fields."""
    schema = model.model_json_schema()
    image = {"type": "string", "format": "binary", "description": "the picture: JPEG, PNG or WebP"}
    schema["properties"] = {"file": image} | schema["properties"]
    schema["required"] = ["file", *schema["required"]]
    return {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": schema}}}}
