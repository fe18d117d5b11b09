"""Server-sent events: https://html.spec.whatwg.org/multipage/server-sent-events.html"""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack

from fastapi import Request
from fastapi.responses import StreamingResponse
from pydantic import BaseModel
from starlette.types import Receive, Scope, Send

EVENTS = "text/event-stream"

HEARTBEAT = b": still waiting\n\n"
"""A comment, which a client passes over: it keeps proxies from closing a connection that says nothing."""


def wants_events(request: Request) -> bool:
    """True if the caller asked for events by `Accept`."""
    for one in request.headers.get("accept", "").lower().split(","):
        kind, *parameters = (part.strip() for part in one.split(";"))
        if kind == EVENTS and not any(part.replace(" ", "") in {"q=0", "q=0.0"} for part in parameters):
            return True
    return False


def event(name: str, body: BaseModel) -> bytes:
    """One event; JSON has no line breaks of its own."""
    return event_of_text(name, body.model_dump_json())


def event_of_text(name: str, data: str) -> bytes:
    """One event with data of one line."""
    return f"event: {name}\ndata: {data}\n\n".encode()


class EventStream(StreamingResponse):
    """A response that sends events as they come. A caller that goes away ends what makes them."""

    def __init__(self, first: bytes, events: AsyncGenerator[bytes, None], held: AsyncExitStack) -> None:
        super().__init__(_chain(first, events), media_type=EVENTS, headers={"X-Accel-Buffering": "no"})
        self._events = events
        self._held = held

    @classmethod
    async def begin(cls, events: AsyncGenerator[bytes, None], held: AsyncExitStack) -> "EventStream":
        """The response, once there is a first event: what fails before that is an ordinary answer.

        Args:
            held: closed when the last event was sent; the caller's own until there is a first one.
        """
        first = await anext(events)
        return cls(first, events, held.pop_all())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send all events, then close what made them."""
        async with self._held:
            try:
                await super().__call__(scope, receive, send)
            finally:
                await self._events.aclose()


async def _chain(first: bytes, events: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for one in events:
        yield one
