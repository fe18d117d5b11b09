"""The legacy routes as a whole: which of them there are, and that each answer calls them deprecated."""

from http import HTTPStatus

from fastapi import APIRouter, HTTPException
from fastapi.routing import APIRoute
from starlette.datastructures import MutableHeaders
from starlette.types import Message, Receive, Scope, Send

from facepass.schemas.settings import AccessSettings
from facepass.search_api.access import GuestDoor
from facepass.search_api.indexing import IndexResources
from facepass.search_api.legacy.event_routes import add_event_by_uuid, add_event_creation, add_event_list
from facepass.search_api.legacy.face_routes import add_event_search, add_session_search, add_upload
from facepass.search_api.searching import SearchResources

DEPRECATED = {
    "Deprecation": "@1708905600",
    "Link": '</docs>; rel="deprecation"; type="text/html", </api/v2/search>; rel="successor-version"',
}
"""RFC 9745. The time is 26 February 2024, when the second generation's guide took these routes out."""


def legacy_routes(
    settings: AccessSettings, searching: SearchResources, indexing: IndexResources, door: GuestDoor
) -> list[APIRouter]:
    """The legacy routes; none of them with `FACEPASS_LEGACY=off`.

    Uploads and new events need a key with scope index, unless the setting is `open`: then they are limited by
    the client's address, as searches are. The rest is public like `POST /search`, and tied to the session's token
    where that is. The list of events tells of every session: where tokens are required it needs a key with scope
    read.
    """
    if settings.legacy == "off":
        return []
    events = APIRouter(tags=["legacy"], route_class=_EventsRoute, deprecated=True)
    others = APIRouter(tags=["legacy"], route_class=_DeprecatedRoute, deprecated=True)
    guard, database = door.guard, indexing.store.database
    writing = guard.limit_index() if settings.legacy == "keys" else guard.limit_search()
    add_event_creation(events, database, indexing.events, writing)
    add_event_list(events, database, guard)
    add_event_by_uuid(others, database, door)
    add_upload(others, indexing, writing)
    add_session_search(others, searching, door)
    add_event_search(others, searching, door)
    return [events, others]


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
