"""The OpenAPI document says what the API does: every answer has its schema there, every example is valid."""

import re
from collections.abc import AsyncIterator
from typing import Any

import httpx
import jsonschema
import pytest
from support.samples import astronaut_png, coffee_png
from support.search_stack import SearchStack, open_search_stack

from facepass.embedding import FaceEngine
from facepass.schemas.error_table import ERROR_TABLE
from facepass.schemas.errors import ErrorCode
from facepass.schemas.settings import DatabaseSettings

Document = dict[str, Any]


@pytest.fixture
async def stack(database_settings: DatabaseSettings, engine: FaceEngine) -> AsyncIterator[SearchStack]:
    async with open_search_stack(database_settings, engine) as opened:
        yield opened


@pytest.fixture
async def document(stack: SearchStack) -> Document:
    return (await stack.client.get("/openapi.json")).json()


def check(document: Document, schema: Document, value: object) -> None:
    """Validate against a schema of the document, its references included."""
    whole = schema | {"components": document["components"]}
    jsonschema.Draft202012Validator(whole, format_checker=jsonschema.FormatChecker()).validate(value)


def operations(document: Document) -> list[tuple[str, str, Document]]:
    return [(p, m, operation) for p, methods in document["paths"].items() for m, operation in methods.items()]


def test_every_operation_has_an_id_of_its_own_and_a_summary(document: Document) -> None:
    found = operations(document)
    assert len({operation["operationId"] for _, _, operation in found}) == len(found) > 20
    assert all(operation["summary"] and operation["tags"] for _, _, operation in found)


def test_every_example_is_valid(document: Document) -> None:
    checked = 0
    for schema in document["components"]["schemas"].values():
        for example in schema.get("examples", []):
            check(document, schema, example)
            checked += 1
    for _, _, operation in operations(document):
        bodies = [*operation["responses"].values(), operation.get("requestBody", {})]
        for content in (
            body.get("content", {}).get(kind, {}) for body in bodies for kind in body.get("content", {})
        ):
            examples = [value["value"] for value in content.get("examples", {}).values()]
            for example in [*examples, *([content["example"]] if "example" in content else [])]:
                check(document, content["schema"], example)
                checked += 1
    assert checked > 30


def test_every_answer_has_a_schema_and_success_an_example(document: Document) -> None:
    for path, _method, operation in operations(document):
        for status, answer in operation["responses"].items():
            (kind, content), *_ = answer["content"].items()
            assert answer["description"], (path, status)
            if kind == "application/json":
                kinds = content["schema"].get("anyOf", [content["schema"]])
                names = [schema["$ref"].rsplit("/", 1)[1] for schema in kinds]
                assert "examples" in content or any(
                    "examples" in document["components"]["schemas"][name] for name in names
                ), (path, status)


def test_every_code_that_the_api_may_answer_is_documented(document: Document) -> None:
    documented = {
        code
        for _, _, operation in operations(document)
        for answer in operation["responses"].values()
        for content in answer["content"].values()
        for code, example in content.get("examples", {}).items()
        if "code" in example["value"]
    }
    assert documented == {str(code) for code in ERROR_TABLE} - ANSWERED_WITHOUT_A_ROUTE


ANSWERED_WITHOUT_A_ROUTE = {"not_found", "method_not_allowed"}


def test_a_503_says_when_to_try_again(document: Document) -> None:
    for path in ("/api/v1/search", "/api/v1/search/status/{session_id}"):
        (operation,) = document["paths"][path].values()
        assert "Retry-After" in operation["responses"]["503"]["headers"]


def test_the_form_is_documented_with_its_limits(document: Document) -> None:
    body = document["paths"]["/api/v2/search"]["post"]["requestBody"]
    schema = body["content"]["multipart/form-data"]["schema"]
    assert body["required"] is True
    assert schema["properties"]["threshold"]["default"] == 0.7
    assert (schema["properties"]["limit"]["minimum"], schema["properties"]["limit"]["maximum"]) == (1, 1000)
    assert {"type": "string", "minLength": 1, "maxLength": 255} in schema["properties"]["session_id"]["anyOf"]
    assert {"file", "image"} <= set(schema["properties"])


async def test_what_is_answered_is_what_is_documented(stack: SearchStack, document: Document) -> None:
    await stack.index("s1", {"me": astronaut_png()})
    search, status = "/api/v1/search", "/api/v1/search/status/{session_id}"
    answers: list[tuple[str, httpx.Response]] = [
        (search, await stack.search("s1", astronaut_png())),
        (search, await stack.search("s1", coffee_png())),
        (search, await stack.search("unknown", astronaut_png())),
        (search, await stack.search("s1", b"text")),
        (search, await stack.search("s1", astronaut_png()[:1000])),
        (search, await stack.search("s1", astronaut_png(), limit=0)),
        (search, await stack.search("s1", bytes(10_000_001))),
        (status, await stack.client.get("/api/v1/search/status/s1")),
        (status, await stack.client.get("/api/v1/search/status/unknown")),
        (status, await stack.client.get("/api/v1/search/status/%00")),
        ("/health", await stack.client.get("/health")),
        ("/ready", await stack.client.get("/ready")),
    ]
    assert {response.status_code for _, response in answers} == {200, 400, 404, 413, 415, 422}
    for path, response in answers:
        (operation,) = document["paths"][path].values()
        content = operation["responses"][str(response.status_code)]["content"]["application/json"]
        check(document, content["schema"], response.json())


def test_the_codes_of_the_contract_have_their_statuses() -> None:
    assert {code: ERROR_TABLE[code].status for code in CONTRACT} == CONTRACT


CONTRACT = {
    ErrorCode.NO_FACE: 400,
    ErrorCode.SESSION_NOT_FOUND: 404,
    ErrorCode.FILE_TOO_LARGE: 413,
    ErrorCode.UNSUPPORTED_IMAGE: 415,
    ErrorCode.INVALID_PARAMETER: 422,
    ErrorCode.LEASE_EXPIRED: 503,
    ErrorCode.OVERLOADED: 503,
}


async def test_the_documentation_page_loads_nothing_from_another_host(stack: SearchStack) -> None:
    page = await stack.client.get("/docs")
    assert page.status_code == 200
    loaded = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert len(loaded) == 3
    for address in loaded:
        assert address.startswith("/docs/assets/")
        assert (await stack.client.get(address)).status_code == 200
