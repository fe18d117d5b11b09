"""Direct routes call their own guards and no others, so nothing may stand around them that they would skip."""

from typing import Annotated

import pytest
from fastapi import APIRouter, Depends, FastAPI, Query, Request, Response
from support.search_stack import open_search_stack

from facepass.embedding import FaceEngine
from facepass.schemas.settings import DatabaseSettings
from facepass.search_api.http.direct_route import DirectRoute, check_direct_routes


async def guard(_request: Request) -> None: ...


async def endpoint(_request: Request) -> Response:
    return Response()


def direct(**named: object) -> APIRouter:
    router = APIRouter(route_class=DirectRoute)
    router.add_api_route("/direct", endpoint, **named)
    return router


def test_an_application_or_an_inclusion_with_dependencies_is_refused() -> None:
    guarded = FastAPI(dependencies=[Depends(guard)])
    guarded.include_router(direct())
    included = FastAPI()
    included.include_router(direct(), dependencies=[Depends(guard)])
    nested, outer = FastAPI(), APIRouter(dependencies=[Depends(guard)])
    outer.include_router(direct())
    nested.include_router(outer)
    for app in (guarded, included, nested):
        with pytest.raises(TypeError, match="/direct is a direct route"):
            check_direct_routes(app)


def test_what_stands_around_other_routes_and_on_the_route_itself_is_no_matter() -> None:
    app, others = FastAPI(), APIRouter()
    others.add_api_route("/other", endpoint)
    app.include_router(others, dependencies=[Depends(guard)])
    app.include_router(direct(dependencies=[Depends(guard)]))
    check_direct_routes(app)


def test_a_function_or_guard_that_uses_more_than_the_request_is_refused() -> None:
    async def paged(request: Request, page: Annotated[int, Query()] = 1) -> Response: ...

    with pytest.raises(TypeError, match="more than the request"):
        APIRouter(route_class=DirectRoute).add_api_route("/direct", paged)
    with pytest.raises(TypeError, match="more than the request"):
        direct(dependencies=[Depends(paged)])


async def test_the_search_is_one(database_settings: DatabaseSettings, engine: FaceEngine) -> None:
    async with open_search_stack(database_settings, engine) as stack:
        check_direct_routes(stack.app)
        stack.app.router.dependencies.append(Depends(guard))
        with pytest.raises(TypeError, match="/search is a direct route"):
            check_direct_routes(stack.app)
