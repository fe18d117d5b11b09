"""Headers of every answer: what a browser may do with it, whether it may be kept, where a caller stands.

HSTS is not among them: the proxy that ends TLS sets it.
"""

import math
import time

from fastapi import FastAPI
from starlette.datastructures import MutableHeaders
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from facepass.schemas.errors import ErrorCode, PermanentError
from facepass.search_api.access.rate_limits import Standing

STANDING = "facepass.standing"
"""Key in a request's ASGI scope of its `rate_limits.Standing`, which becomes headers of its answer."""

NOTHING_LOADED = "default-src 'none'; frame-ancestors 'none'"
"""Content-Security-Policy of an answer that is no page. A page brings its own."""

_DEFAULTS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
    "Content-Security-Policy": NOTHING_LOADED,
    "Cross-Origin-Resource-Policy": "same-origin",
}

_PREFLIGHT_SECONDS = 600


class SecurityHeaders:
    """The headers that an answer does not bring itself, added to it. Outermost, so that errors have them too."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and complete the headers of its answer."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_on(message: Message) -> None:
            if message["type"] == "http.response.start":
                _complete(MutableHeaders(scope=message), scope)
            await send(message)

        await self._app(scope, receive, send_on)


def _complete(headers: MutableHeaders, scope: Scope) -> None:
    for name, value in _DEFAULTS.items():
        headers.setdefault(name, value)
    if "etag" not in headers:  # static files have one; everything else may tell of a person
        headers.setdefault("Cache-Control", "no-store")
    if (standing := scope.get(STANDING)) is not None:
        headers.update(_rate_limit(standing, time.time()))


def _rate_limit(standing: Standing, now: float) -> dict[str, str]:
    """The headers of a caller's standing. Reset is a Unix time; `now` is one."""
    return {
        "X-RateLimit-Limit": str(standing.amount),
        "X-RateLimit-Remaining": str(standing.remaining),
        "X-RateLimit-Reset": str(math.ceil(now + max(0.0, standing.reset_seconds))),
    }


def add_cors(app: FastAPI, setting: str) -> None:
    """Let pages of these origins call the API; none without the setting.

    Cookies are never allowed across origins: the API uses none.

    Raises:
        PermanentError: `invalid_setting`.
    """
    origins = [_checked(part.strip()) for part in setting.split(",") if part.strip()]
    if origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=origins,
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=["Authorization", "Content-Type", "Idempotency-Key", "X-API-Key", "X-Request-ID"],
            expose_headers=[
                "Deprecation",
                "Retry-After",
                "X-RateLimit-Limit",
                "X-RateLimit-Remaining",
                "X-RateLimit-Reset",
                "X-Request-ID",
            ],
            max_age=_PREFLIGHT_SECONDS,
        )


def _checked(origin: str) -> str:
    scheme, separator, host = origin.partition("://")
    if origin != "*" and (
        scheme not in {"http", "https"} or not separator or not host or set(host) & set("/?#@ ")
    ):
        raise PermanentError(
            ErrorCode.INVALID_SETTING,
            "FACEPASS_CORS_ORIGINS: give origins such as https://photos.example, separated by commas, or *",
            setting="FACEPASS_CORS_ORIGINS",
        )
    return origin
