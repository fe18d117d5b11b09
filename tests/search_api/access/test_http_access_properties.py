"""Who may call what: every operation of the OpenAPI document, whichever there are."""

import asyncio
import re
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from pydantic import SecretStr
from support.search_stack import SearchStack, open_search_stack

from facepass.embedding import FaceEngine
from facepass.schemas.callers import Scope
from facepass.schemas.settings import AccessSettings, DatabaseSettings
from facepass.storage.callers.api_keys import create_key, revoke_key

KEY = "settings-key-0123456789-0123456789"

GUESTS = {
    ("post", "/search"),
    ("get", "/search/status/{session_id}"),
    ("get", "/sessions/{session_id}"),
    ("get", "/sessions/validate/{session_id}"),
    ("get", "/sessions/{session_id}/facepass-status"),
    # legacy
    ("post", "/faces/search-session"),
    ("post", "/faces/search"),
    ("get", "/events/uuid/{event_uuid}"),
}
"""Public; where sessions are tied to tokens, open to the session's token."""

UNTIED = {("get", "/events/")}
"""Public; where sessions are tied to tokens, open to a key alone: it names them all."""

PUBLIC = {
    # the page itself shows nothing; what its script asks for is above
    ("get", "/sessions/{session_id}/interface"),
    ("get", "/health"),
    ("get", "/ready"),
    ("get", "/metrics"),
}
"""Public whatever the settings."""

KEYED = {
    ("post", "/index"),
    ("post", "/index/batch"),
    ("delete", "/index/{session_id}"),
    ("delete", "/index/{session_id}/photos/{photo_id}"),
    ("get", "/sessions/{session_id}/photos"),
}
"""Some of those that need a key whatever the settings."""

Operation = tuple[str, str, dict[str, Any]]


@pytest.fixture(params=["off", "required"])
async def stack(
    request: pytest.FixtureRequest, database_settings: DatabaseSettings, engine: FaceEngine
) -> AsyncIterator[SearchStack]:
    """With sessions open, and with sessions tied to tokens."""
    access = AccessSettings(session_tokens=request.param, api_keys=SecretStr(KEY), limit_index="off")
    async with open_search_stack(database_settings, engine, access=access) as opened:
        yield opened


async def operations(stack: SearchStack) -> list[Operation]:
    document = (await stack.client.get("/openapi.json")).json()
    return [
        (method, path, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]


def route(method: str, path: str) -> tuple[str, str]:
    return method, re.sub("^/api/v[12]", "", path)


def protected(found: list[Operation]) -> list[Operation]:
    return [one for one in found if one[2].get("security")]


BODIES: tuple[dict[str, Any], ...] = (
    {},
    {"json": {}},
    {"content": b"{", "headers": {"Content-Type": "application/json"}},
    {"content": b"--b", "headers": {"Content-Type": "multipart/form-data; boundary=b"}},
    {"files": {"file": b"x" * 1000}, "data": {"session_id": "s1", "photo_id": "p1"}},
)


async def call(
    stack: SearchStack, operation: Operation, body: dict[str, Any], **headers: str | None
) -> httpx.Response:
    method, path, _ = operation
    sent = {name.replace("_", "-"): value for name, value in headers.items() if value is not None}
    return await stack.client.request(
        method, re.sub(r"{\w+}", "s1", path), **body | {"headers": body.get("headers", {}) | sent}
    )


@pytest.mark.property(9)
async def test_property_9_every_protected_operation_refuses_who_has_no_key(stack: SearchStack) -> None:
    """And says so before it reads a body, so that nothing is told of what is wrong with that."""
    found = protected(await operations(stack))
    assert {route(*one[:2]) for one in found} >= KEYED
    revoked = await create_key(stack.parts.store.database, "revoked", [Scope.ADMIN])
    await revoke_key(stack.parts.store.database, revoked.key_id)
    for one in found:
        guests = route(*one[:2]) in GUESTS
        calls = [(body, key) for body in BODIES for key in (None, revoked.key, KEY[:-1])]
        answers = await asyncio.gather(*(call(stack, one, body, X_API_Key=key) for body, key in calls))
        for (_, key), answer in zip(calls, answers, strict=True):
            expected = "token_required" if guests and key is None else "key_required"
            assert (answer.status_code, answer.json()["code"]) == (401, expected), one[:2]


@pytest.mark.property(9)
async def test_property_9_what_is_not_protected_is_meant_to_be_public(stack: SearchStack) -> None:
    found = await operations(stack)
    bound = stack.parts.access.session_tokens == "required"
    open_routes = {route(*one[:2]) for one in found} - {route(*one[:2]) for one in protected(found)}
    assert open_routes <= (PUBLIC if bound else PUBLIC | GUESTS | UNTIED)


async def test_every_protected_operation_lets_its_scope_pass_and_documents_who_is_refused(
    stack: SearchStack,
) -> None:
    unscoped = await create_key(stack.parts.store.database, "nothing", [])
    for one in protected(await operations(stack)):
        assert (await call(stack, one, {}, X_API_Key=KEY)).status_code not in {401, 403, 500}
        answer = await call(stack, one, {}, X_API_Key=unscoped.key)
        assert (answer.status_code, answer.json()["code"]) == (403, "scope_required"), one[:2]
        content = one[2]["responses"]["401"]["content"]["application/json"]
        assert "key_required" in content["examples"], one[:2]
        assert "403" in one[2]["responses"], one[:2]
