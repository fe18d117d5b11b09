"""The routes of an application, wherever they stand."""

from collections.abc import Iterable, Iterator

from fastapi.routing import APIRoute
from starlette.routing import BaseRoute


def all_routes(routes: Iterable[BaseRoute]) -> Iterator[APIRoute]:
    """Those of included routers too."""
    for route in routes:
        if isinstance(route, APIRoute):
            yield route
        yield from all_routes(getattr(getattr(route, "original_router", None), "routes", ()))
