"""A small application behind the real guard: one route of each kind, with the middleware of the real one."""

from typing import Annotated

import httpx
from fastapi import Depends, FastAPI, Request

from facepass.schemas.callers import Caller, Scope
from facepass.schemas.ids import SessionId
from facepass.search_api import Resources
from facepass.search_api.access.guard import Guard
from facepass.search_api.access.guest_door import GuestDoor
from facepass.search_api.access.response_headers import SecurityHeaders
from facepass.search_api.http.errors import answer_errors
from facepass.search_api.http.middleware import RequestLog


def guarded_app(parts: Resources) -> tuple[FastAPI, Guard]:
    """Routes `/index`, `/photos`, `/keys`, `/search`, `/guests/{session}`; whoever calls this closes the guard."""
    app, guard = FastAPI(), Guard(parts.access, parts.store.database)
    door = GuestDoor(guard=guard, store=parts.store, shards=parts.shards, unannounced=parts.access.unannounced)

    @app.post("/index")
    async def index(caller: Annotated[Caller, Depends(guard.limit_index())]) -> str:
        return caller.key_id

    @app.get("/photos")
    async def photos(caller: Annotated[Caller, Depends(guard.key(Scope.READ))]) -> str:
        return caller.key_id

    @app.get("/keys")
    async def keys(caller: Annotated[Caller, Depends(guard.key(Scope.ADMIN))]) -> str:
        return caller.key_id

    @app.post("/search", dependencies=[Depends(guard.limit_search())])
    async def search() -> None: ...

    @app.get("/guests/{session_id}", dependencies=[Depends(guard.guest())])
    async def guests(request: Request, session_id: str) -> None:
        await door.enter(request, SessionId(session_id))

    answer_errors(app)
    app.add_middleware(RequestLog)
    app.add_middleware(SecurityHeaders)
    return app, guard


def client_of(app: FastAPI, address: str = "203.0.113.1") -> httpx.AsyncClient:
    """A client that calls from this address, in the same event loop."""
    transport = httpx.ASGITransport(app, raise_app_exceptions=False, client=(address, 50000))
    return httpx.AsyncClient(transport=transport, base_url="http://facepass.test")
