"""Every operation that takes a session's id goes through the door of guests, or asks for a key with a scope.

The operations are those of the OpenAPI document, and the calls are made from it: a new one that skips the door
fails here without a change of this file.
"""

import json
import re
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from io import StringIO
from typing import Any
from uuid import uuid4

import httpx
import pytest
from pydantic import SecretStr
from support.routes import all_routes
from support.samples import astronaut_png
from support.search_stack import SearchStack, open_search_stack

from facepass.embedding import FaceEngine
from facepass.schemas.settings import AccessSettings, DatabaseSettings
from facepass.storage.callers.legacy_events import create_event

KEY = "settings-key-0123456789-0123456789"
NAME = "Anna and Boris"

OPEN = {
    (
        "get",
        "/sessions/{session_id}/interface",
    ): "the document of the page comes before any token: a guest's link has"
    " it behind `#`. It is the same for every session, also for one that is not there",
}
"""Operations on a session that are open to everybody, and why."""

BY_NUMBER = {("post", "/faces/search")}
"""A guest of another session learns here whether an event is there. They are numbered from 1: no secret."""

NOT_HERE = {"broker_unavailable", "store_unavailable"}
"""How far a valid call comes that indexes or deletes: there are neither Kafka nor a photo store."""

SESSION = re.compile(r"(session|event)(_?(id|uuid|number|key))?")
"""Names of what says which session is meant: that of a legacy event is its UUID."""

Schema = dict[str, Any]


@dataclass(frozen=True)
class Session:
    """What names one session, under every name that an operation may ask for it by."""

    session_id: str
    event_id: int

    def named(self, name: str) -> str | int:
        return self.event_id if name == "event_id" else self.session_id


UNKNOWN = Session(session_id="0f8fad5b-d9cb-469f-a165-70867728950e", event_id=4711)


@dataclass(frozen=True)
class Operation:
    method: str
    path: str
    described: Schema
    document: Schema

    @property
    def route(self) -> tuple[str, str]:
        return self.method, re.sub("^/api/v[12]", "", self.path)

    def body(self) -> tuple[str, Schema]:
        """The kind of its body, a form rather than JSON, and the schema; empty without a body."""
        content = self.described.get("requestBody", {}).get("content", {})
        kind = max(content, default="")
        return kind, self.schema(content[kind]["schema"]) if content else {}

    def schema(self, schema: Schema) -> Schema:
        """Without references."""
        if "$ref" in schema:
            return self.document["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]]
        return schema

    def takes_a_session(self) -> bool:
        contents = self.described.get("requestBody", {}).get("content", {}).values()
        names = {parameter["name"] for parameter in self.described.get("parameters", [])}
        return any(SESSION.fullmatch(name) for name in names.union(*(self._names(c["schema"]) for c in contents)))

    def _names(self, schema: Schema) -> Iterator[str]:
        schema = self.schema(schema)
        for name, inner in schema.get("properties", {}).items():
            yield name
            yield from self._names(inner)
        for inner in [*schema.get("anyOf", []), *([schema["items"]] if "items" in schema else [])]:
            yield from self._names(inner)

    async def call(self, stack: SearchStack, session: Session, headers: dict[str, str]) -> httpx.Response:
        """A whole, valid call, so that it is refused for nothing but its caller."""
        values = {p["name"]: _value(p["name"], p["schema"], session) for p in self.described.get("parameters", [])}
        path = re.sub(r"{(\w+)}", lambda match: str(values[match[1]]), self.path)
        query = [p["name"] for p in self.described.get("parameters", []) if p["in"] == "query" and p["required"]]
        kind, schema = self.body()
        named = {"params": {name: values[name] for name in query}, "headers": headers}
        fields = _fields(schema, session)
        if kind == "application/json":
            named["json"] = fields
        elif kind:
            named |= {"files": {"file": astronaut_png()}, "data": fields}
        return await stack.client.request(self.method, path, **named)


def _value(name: str, schema: Schema, session: Session) -> Any:
    if SESSION.fullmatch(name):
        return session.named(name)
    if schema.get("type") == "array":
        return [_value(name, schema["items"], session)]
    if "properties" in schema:
        return _fields(schema, session)
    return {"integer": 1, "number": 0.5, "boolean": True}.get(schema.get("type", ""), "me")


def _fields(schema: Schema, session: Session) -> Schema:
    required = set(schema.get("required", ())) - {"file", "image"}
    return {name: _value(name, schema["properties"][name], session) for name in required}


@pytest.fixture(params=["keys", "open"])
async def stack(
    request: pytest.FixtureRequest, database_settings: DatabaseSettings, engine: FaceEngine
) -> AsyncIterator[SearchStack]:
    """With sessions tied to tokens."""
    access = AccessSettings(
        session_tokens="required",
        api_keys=SecretStr(KEY),
        limit_index="off",
        limit_search="off",
        legacy=request.param,
    )
    async with open_search_stack(database_settings, engine, access=access) as opened:
        yield opened


async def make_session(stack: SearchStack) -> Session:
    """With a photo, and an event of its own."""
    uuid = uuid4()
    event = await create_event(stack.parts.store.database, uuid, NAME, location=None, date=None)
    await stack.announce(str(uuid), name=NAME)
    await stack.index(str(uuid), {"me": astronaut_png()})
    return Session(session_id=str(uuid), event_id=event.number)


def operations(stack: SearchStack) -> list[Operation]:
    """Those that take a session's id."""
    document = stack.app.openapi()
    found = [
        Operation(method, path, described, document)
        for path, methods in document["paths"].items()
        for method, described in methods.items()
    ]
    return [one for one in found if one.takes_a_session()]


def open_to_all(stack: SearchStack) -> set[tuple[str, str]]:
    # with `open` uploads to events are anybody's by the operator's choice: they tell nothing of the session
    return {*OPEN, *([("post", "/faces/upload")] if stack.parts.access.legacy == "open" else [])}


def test_no_operation_on_a_session_is_missing_in_the_document(stack: SearchStack) -> None:
    hidden = [route.path for route in all_routes(stack.app.routes) if not route.include_in_schema]
    assert not [path for path in hidden for name in re.findall(r"{(\w+)", path) if SESSION.fullmatch(name)]


async def test_nobody_learns_anything_of_a_session_without_its_token(stack: SearchStack) -> None:
    theirs, mine = await make_session(stack), await make_session(stack)
    found = operations(stack)
    assert {one.route for one in found} >= {*OPEN, ("post", "/search"), ("get", "/search/status/{session_id}")}
    assert len(found) >= 32
    for one in found:
        if one.route in open_to_all(stack):
            continue
        for headers in ({}, await stack.token(mine.session_id), {"Authorization": "Bearer nonsense"}):
            answer = await one.call(stack, theirs, headers)
            assert answer.status_code in {401, 403}, (one.route, answer.text)
            assert set(answer.json()) == {"code", "message", "details"}, one.route
            assert NAME not in answer.text, one.route
            if one.route not in BY_NUMBER:  # not even whether it is there
                unknown = await one.call(stack, UNKNOWN, headers)
                assert (unknown.status_code, unknown.json()) == (answer.status_code, answer.json()), one.route


async def test_who_may_call_is_let_through_and_the_log_names_the_session(
    stack: SearchStack, log_lines: StringIO
) -> None:
    """So the refusals above are the door's, and not those of a call that is wrong in itself."""
    theirs = await make_session(stack)
    token, key = await stack.token(theirs.session_id), {"X-API-Key": KEY}
    for one in operations(stack):
        guests = "token_required" in json.dumps(one.described["responses"].get("401", {}))
        log_lines.truncate(0)
        log_lines.seek(0)
        answer = await one.call(stack, theirs, token if guests else key)
        assert answer.status_code == 200 or answer.json()["code"] in NOT_HERE, (one.route, answer.text)
        lines = map(json.loads, log_lines.getvalue().splitlines())
        (session_id,) = (line.get("session_id") for line in lines if line["event"] == "request")
        assert session_id == theirs.session_id, one.route


async def test_what_is_open_to_all_says_nothing_of_the_session(stack: SearchStack) -> None:
    theirs = await make_session(stack)
    for one in operations(stack):
        if one.route in OPEN:
            known, unknown = [await one.call(stack, session, {}) for session in (theirs, UNKNOWN)]
            assert known.status_code == unknown.status_code
            assert NAME not in known.text
            assert known.text.replace(theirs.session_id, "") == unknown.text.replace(UNKNOWN.session_id, "")
