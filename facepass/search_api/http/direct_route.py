"""A route without FastAPI's machinery, for a function that uses none of it."""

import inspect
from collections.abc import Callable, Iterable
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.routing import APIRoute
from starlette.routing import BaseRoute
from starlette.types import Receive, Scope, Send


class DirectRoute(APIRoute):
    """A route that calls its guards and function with the request: FastAPI's way there takes longer than they do.

    The guards are those of the route and its router. What the application, or an inclusion of the router, depends
    on beside them is not called: `check_direct_routes` refuses such an application.
    """

    def __init__(self, path: str, endpoint: Callable[..., Any], **named: Any) -> None:
        """The same as of `APIRoute`.

        Raises:
            TypeError: the function or a guard uses more than the request.
        """
        super().__init__(path, endpoint, **named)
        for called in (self.endpoint, *(depends.dependency for depends in self.dependencies)):
            _check_takes_a_request(called)

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["method"] not in (self.methods or ()):
            await super().handle(scope, receive, send)
            return
        request = Request(scope, receive, send)
        for depends in self.dependencies:
            if depends.dependency is not None:
                await depends.dependency(request)
        response: Response = await self.endpoint(request)
        await response(scope, receive, send)


def check_direct_routes(app: FastAPI) -> None:
    """Check that no direct route skips what it should depend on.

    Raises:
        TypeError: the application, or an inclusion of a router with a direct route, has dependencies of its own.
    """
    _check(app.routes, bool(app.router.dependencies))


def _check(routes: Iterable[BaseRoute], depends: bool) -> None:
    """Check routes; `depends`: whether what includes them has dependencies of its own."""
    for route in routes:
        if depends and isinstance(route, DirectRoute):
            raise TypeError(f"{route.path} is a direct route: it would skip the dependencies around its router")
        included = getattr(route, "original_router", None)
        if included is not None:  # a router stays whole inside the one that includes it
            around = getattr(getattr(route, "include_context", None), "dependencies", ())
            _check(included.routes, depends or bool(around))


def _check_takes_a_request(called: Callable[..., Any] | None) -> None:
    """Check one. A guard may declare security for the document, in parameters that it does not use."""
    if called is None:
        return
    first, *others = inspect.signature(called).parameters.values()
    if first.annotation is not Request or any(
        other.default is inspect.Parameter.empty or not other.name.startswith("_") for other in others
    ):
        raise TypeError(f"{called} takes more than the request, and a direct route gives it no more")
