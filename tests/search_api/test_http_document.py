"""docs/http-api.md names every route, who may call it, and statuses that the OpenAPI document has too."""

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from support.search_stack import open_search_stack

from facepass.embedding import FaceEngine
from facepass.schemas.settings import DatabaseSettings

PAGE = Path(__file__).parents[2] / "docs" / "http-api.md"
_ROW = re.compile(r"^\| (`[A-Z]+ /.*?) \| (.*?) \| (.*?) \| (.*?) \|$", re.MULTILINE)


@pytest.fixture
async def documented(database_settings: DatabaseSettings, engine: FaceEngine) -> AsyncIterator[dict[str, Any]]:
    """Method and path to operation, of one version of the API."""
    async with open_search_stack(database_settings, engine) as stack:
        paths = (await stack.client.get("/openapi.json")).json()["paths"]
    yield {
        f"{method.upper()} {path.removeprefix('/api/v1')}": operation
        for path, methods in paths.items()
        if path.startswith("/api/v1/")
        for method, operation in methods.items()
    }


def rows() -> dict[str, tuple[str, str, str]]:
    found = {}
    for routes, *rest in _ROW.findall(PAGE.read_text()):
        for route in re.findall(r"`([A-Z]+ /[^`]*)`", routes):
            found[route] = tuple(rest)
    return found


def test_the_table_has_every_route_and_no_other(documented: dict[str, Any]) -> None:
    assert rows().keys() == documented.keys()


def test_the_table_says_which_routes_need_a_key(documented: dict[str, Any]) -> None:
    named = {route for route, (who, _, _) in rows().items() if who.startswith("key ")}
    assert named == {route for route, operation in documented.items() if operation.get("security")}


def test_the_table_says_which_routes_have_a_limit(documented: dict[str, Any]) -> None:
    named = {route for route, (_, limit, _) in rows().items() if limit != "none"}
    assert named == {route for route, operation in documented.items() if "429" in operation["responses"]}


def test_every_status_of_the_table_is_documented(documented: dict[str, Any]) -> None:
    for route, (_, _, answers) in rows().items():
        assert set(re.findall(r"\b[2-5]\d\d\b", answers)) <= documented[route]["responses"].keys(), route
