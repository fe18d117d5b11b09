"""The surroundings of every request: its one log line, its metrics, its id, and the end of refused uploads.

Pure ASGI: Starlette's BaseHTTPMiddleware runs the request in another task, whose log context would be lost, and
copies every body through a queue.
"""

import asyncio
import re
import time
from collections.abc import MutableMapping
from typing import Any
from uuid import uuid4

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from facepass.schemas import metrics
from facepass.schemas.logs import get_logger
from facepass.search_api.http.errors import error_response, internal_error
from facepass.search_api.http.paths import PREFIXES
from facepass.search_api.http.request_body import BODY_READ

log = get_logger(__name__)

REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
"""A caller's own request id is taken over if it is this plain; it ends up in logs."""

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
"""Method names that become a metric label; a caller can invent any others."""

UNMATCHED = "unmatched"
"""The route label of paths that no route has, so that a caller cannot invent labels."""

CLIENT_CLOSED = 499
"""The status logged, as nginx does, when the client went away before there was an answer."""

DRAIN_BYTES = 4 * 1024 * 1024
DRAIN_SECONDS = 2.0
"""How much of a refused body is still read, and for how long, so that the client sees the answer: closing a
connection with unread bytes resets it, and the answer is lost with it."""


class RequestLog:
    """The id, the one log line and the metrics of every request; unhandled errors are answered with a bare 500."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, then log and count it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun = time.perf_counter()
        request_id = _request_id(scope)
        answered = _Answered(send, request_id)
        error: Exception | None = None
        structlog.contextvars.bind_contextvars(request_id=request_id)
        try:
            await self._app(scope, receive, answered)
        except ClientDisconnect:
            answered.status = answered.status or CLIENT_CLOSED
        except Exception as exc:
            error = exc
            if not answered.status:
                await error_response(internal_error())(scope, receive, answered)
        finally:
            _record(scope, answered.status or CLIENT_CLOSED, time.perf_counter() - begun, error)
            structlog.contextvars.unbind_contextvars("request_id", "session_id", "photo_id", "code")


class _Answered:
    """An answer on its way: passed on with the request's id, its status remembered."""

    def __init__(self, send: Send, request_id: str) -> None:
        self._send = send
        self._request_id = request_id
        self.status = 0

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            MutableHeaders(scope=message)["X-Request-ID"] = self._request_id
        await self._send(message)


def _request_id(scope: Scope) -> str:
    given = Headers(scope=scope).get("x-request-id", "")
    return given if REQUEST_ID.fullmatch(given) else uuid4().hex


def _record(scope: MutableMapping[str, Any], status: int, seconds: float, error: Exception | None) -> None:
    route = _route(scope)
    method = scope["method"] if scope["method"] in METHODS else "other"
    metrics.http_requests_total.labels(route, method, str(status)).inc()
    metrics.http_request_duration_seconds.labels(route, method).observe(seconds)
    fields = {"method": method, "route": route, "status": status, "duration_ms": round(seconds * 1000, 2)}
    if error is not None:
        log.error("request", **fields, exc_info=error)
    elif status >= 500:  # noqa: PLR2004 - server errors
        log.warning("request", **fields)
    else:
        log.info("request", **fields)


def _route(scope: MutableMapping[str, Any]) -> str:
    """The matched route's own path, with the prefix under which its router was included."""
    path: str = getattr(scope.get("route"), "path_format", UNMATCHED)  # the router has put it there
    if path == UNMATCHED or path.startswith(PREFIXES):
        return path
    return next((prefix + path for prefix in PREFIXES if scope["path"].startswith(f"{prefix}/")), path)


class DrainRefused:
    """The end of a request that was refused before its body was read: the answer first, then an orderly end.

    The answer goes out whole; then a bounded rest of the body is read and thrown away, and the connection
    is closed. So a client that is still sending sees why it was refused, and cannot go on sending for ever.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on; drain its body if that was not read."""
        if scope["type"] != "http" or not _announces_body(scope):
            await self._app(scope, receive, send)
            return

        async def send_on(message: Message) -> None:
            unread = not scope.get(BODY_READ)  # `request_body` sets it
            if message["type"] == "http.response.start" and unread:
                MutableHeaders(scope=message)["Connection"] = "close"
            if message["type"] != "http.response.body" or message.get("more_body") or not unread:
                await send(message)
                return
            await send({**message, "more_body": True})
            await _drain(receive)
            await send({"type": "http.response.body", "body": b"", "more_body": False})

        await self._app(scope, receive, send_on)


def _announces_body(scope: Scope) -> bool:
    headers = Headers(scope=scope)
    return "transfer-encoding" in headers or headers.get("content-length", "0") != "0"


async def _drain(receive: Receive) -> None:
    drained = 0
    try:
        async with asyncio.timeout(DRAIN_SECONDS):
            while drained < DRAIN_BYTES:
                message = await receive()
                drained += len(message.get("body", b""))
                if not message.get("more_body", False):
                    return
    except TimeoutError:
        return
