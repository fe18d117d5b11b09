"""The first generation's routes: events, and searches by them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from support.samples import astronaut_png, group_jpeg
from support.search_stack import SearchStack, open_search_stack

from facepass.embedding import FaceEngine
from facepass.schemas.callers import Scope
from facepass.schemas.http.legacy_bodies import EventBody, EventList
from facepass.schemas.http.search_bodies import SearchAnswer
from facepass.schemas.ids import SessionId
from facepass.schemas.settings import AccessSettings, DatabaseSettings
from facepass.storage.callers.api_keys import create_key
from facepass.storage.callers.legacy_events import LegacyEvent, create_event
from facepass.storage.writes import delete_session

KEY = {"X-API-Key": "a-key-of-the-tests-with-every-scope"}
DATE = datetime(2026, 5, 9, 12, tzinfo=UTC)
LEGACY_ROUTES = [
    ("GET", "events/"),
    ("POST", "events/"),
    ("GET", f"events/uuid/{uuid4()}"),
    ("POST", "faces/search-session"),
    ("POST", "faces/search"),
    ("POST", "faces/upload"),
]


@asynccontextmanager
async def opened(database: DatabaseSettings, engine: FaceEngine, **access: Any) -> AsyncIterator[SearchStack]:
    settings = AccessSettings(api_keys=KEY["X-API-Key"], **access)
    async with open_search_stack(database, engine, access=settings) as stack:
        yield stack


@pytest.fixture
async def stack(database_settings: DatabaseSettings, engine: FaceEngine) -> AsyncIterator[SearchStack]:
    async with opened(database_settings, engine) as stack:
        yield stack


async def event_of(stack: SearchStack, name: str = "Fair", uuid: UUID | None = None) -> LegacyEvent:
    """An event as `POST /events/` leaves it once intake has come to its announcement."""
    event = await create_event(stack.parts.store.database, uuid or uuid4(), name, location="Moscow", date=DATE)
    await stack.announce(event.session_id, name=name)
    return event


async def get(stack: SearchStack, path: str, **more: Any) -> httpx.Response:
    return await stack.client.get(f"/api/v1/{path}", **more)


async def search(stack: SearchStack, path: str, selfie: bytes, **fields: object) -> httpx.Response:
    return await stack.client.post(f"/api/v1/faces/{path}", files={"file": selfie}, data=fields)


def code(response: httpx.Response) -> tuple[int, str]:
    return response.status_code, response.json()["code"]


async def test_events_are_listed_and_found_by_their_uuid(stack: SearchStack) -> None:
    first, second = await event_of(stack, "First"), await event_of(stack, "Второе")
    listed = await get(stack, "events/")
    assert [(event.id, event.name) for event in EventList.model_validate_json(listed.content).root] == [
        (first.number, "First"),
        (second.number, "Второе"),
    ]
    assert listed.json()[0] == {
        "id": first.number,
        "event_uuid": str(first.uuid),
        "name": "First",
        "location": "Moscow",
        "event_date": "2026-05-09T12:00:00Z",
        "created_at": listed.json()[0]["created_at"],
    }
    found = EventBody.model_validate_json((await get(stack, f"events/uuid/{second.uuid}")).content)
    assert (found.id, found.event_uuid, found.name) == (second.number, second.uuid, "Второе")
    assert (await get(stack, f"events/uuid/{str(second.uuid).upper()}")).status_code == 200
    assert code(await get(stack, f"events/uuid/{uuid4()}")) == (404, "event_not_found")


async def test_the_list_of_events_is_paged(stack: SearchStack) -> None:
    names = [f"event {number}" for number in range(5)]
    for name in names:
        await event_of(stack, name)
    for skip, limit in [(0, 2), (2, 2), (4, 2), (5, 1), (0, 1000)]:
        page = (await get(stack, "events/", params={"skip": skip, "limit": limit})).json()
        assert [event["name"] for event in page] == names[skip : skip + limit]


async def test_a_search_by_event_finds_what_a_search_in_its_session_finds(stack: SearchStack) -> None:
    event, other = await event_of(stack), await event_of(stack, "Other")
    await stack.index(event.session_id, {"me": astronaut_png(), "others": group_jpeg()})
    await stack.index(other.session_id, {"elsewhere": astronaut_png()})
    by_session = (await stack.search(event.session_id, astronaut_png(), threshold=0.3)).json()
    for response in (
        await search(stack, "search", astronaut_png(), event_id=event.number, threshold=0.3),
        await search(stack, "search-session", astronaut_png(), session_id=event.session_id, threshold=0.3),
    ):
        answer = SearchAnswer.model_validate_json(response.content)
        assert answer.matches[0].photo_id == "me"
        assert response.json()["matches"] == by_session["matches"]
        assert answer.total_matches == by_session["total_matches"]
    default = (await search(stack, "search", astronaut_png(), event_id=event.number)).json()
    assert [match["photo_id"] for match in default["matches"]] == ["me"]
    assert code(await search(stack, "search", astronaut_png(), event_id=99)) == (404, "event_not_found")


async def test_a_search_by_session_indexes_nothing(stack: SearchStack) -> None:
    assert code(await search(stack, "search-session", astronaut_png(), session_id="s")) == (
        404,
        "session_not_found",
    )
    await stack.announce("s")
    answer = (await search(stack, "search-session", astronaut_png(), session_id="s")).json()
    assert (answer["matches"], answer["freshness"]["pending"]) == ([], 0)
    status = (await get(stack, "search/status/s")).json()
    assert (status["photo_count"], status["pending"], status["revision"]) == (0, 0, 0)


async def test_a_search_by_event_is_refused_like_one_in_its_session(stack: SearchStack) -> None:
    event = await event_of(stack)
    await stack.announce(event.session_id, facepass_enabled=False)
    assert code(await search(stack, "search", astronaut_png(), event_id=event.number)) == (
        403,
        "facepass_disabled",
    )


async def test_the_event_goes_with_its_session(stack: SearchStack) -> None:
    event, other = await event_of(stack, "Secret"), await event_of(stack, "Other")
    store = stack.parts.store
    await delete_session(store, SessionId(event.session_id), event.created_at.replace(year=2001))
    assert (await get(stack, f"events/uuid/{event.uuid}")).status_code == 200, "older than the event"
    await delete_session(store, SessionId(event.session_id), datetime.now(UTC))
    assert code(await get(stack, f"events/uuid/{event.uuid}")) == (404, "event_not_found")
    assert code(await search(stack, "search", astronaut_png(), event_id=event.number)) == (404, "event_not_found")
    assert [found["id"] for found in (await get(stack, "events/")).json()] == [other.number]
    async with store.database.transaction() as connection:
        rows = await (await connection.execute("SELECT name FROM legacy_events")).fetchall()
    assert rows == [("Other",)]


async def test_without_kafka_no_event_is_created(stack: SearchStack) -> None:
    response = await stack.client.post("/api/v1/events/", json={"name": "Fair"}, headers=KEY)
    assert code(response) == (503, "broker_unavailable")
    assert (await get(stack, "events/")).json() == []


async def test_every_answer_says_that_it_is_deprecated(stack: SearchStack) -> None:
    for version in ("v1", "v2"):
        for method, path in LEGACY_ROUTES:
            response = await stack.client.request(method, f"/api/{version}/{path}")
            assert response.status_code in {200, 401, 404, 422}, path
            assert response.headers["deprecation"] == f"@{int(datetime(2024, 2, 26, tzinfo=UTC).timestamp())}"
            assert 'rel="deprecation"' in response.headers["link"]
    for path in ("search/status/s", "health"):
        assert "deprecation" not in (await get(stack, path)).headers
    document = (await stack.client.get("/openapi.json")).json()
    deprecated = {
        (method.upper(), path)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
        if operation.get("deprecated")
    }
    assert len(deprecated) == 2 * len(LEGACY_ROUTES)


async def test_other_methods_are_refused_with_those_that_are_allowed(stack: SearchStack) -> None:
    response = await stack.client.put("/api/v1/events/")
    assert (code(response), response.headers["allow"]) == ((405, "method_not_allowed"), "GET, POST")
    response = await stack.client.get("/api/v1/faces/search")
    assert (code(response), response.headers["allow"]) == ((405, "method_not_allowed"), "POST")


async def test_the_legacy_routes_can_be_switched_off(
    database_settings: DatabaseSettings, engine: FaceEngine
) -> None:
    async with opened(database_settings, engine, legacy="off") as stack:
        for method, path in LEGACY_ROUTES:
            response = await stack.client.request(method, f"/api/v1/{path}", headers=KEY)
            assert code(response) == (404, "not_found"), path
        assert "/api/v1/events/" not in stack.app.openapi()["paths"]


async def test_uploads_and_new_events_need_a_key_unless_they_are_open(
    database_settings: DatabaseSettings, engine: FaceEngine
) -> None:
    for legacy, without_key in [("keys", 401), ("open", 503)]:
        async with opened(database_settings, engine, legacy=legacy) as stack:
            response = await stack.client.post("/api/v1/events/", json={"name": "Fair"})
            assert response.status_code == without_key, legacy  # 503: let in, and there is no Kafka
            response = await search(stack, "upload", b"x", event_id=1)
            assert response.status_code == (404 if legacy == "open" else without_key), legacy
    async with opened(database_settings, engine) as stack:
        reader = (await create_key(stack.parts.store.database, "support", [Scope.READ])).key
        response = await stack.client.post("/api/v1/events/", content=b"\x00" * 10, headers={"X-API-Key": reader})
        assert code(response) == (403, "scope_required"), "before anything is read"


async def test_where_tokens_are_required_events_need_them(
    database_settings: DatabaseSettings, engine: FaceEngine
) -> None:
    async with opened(database_settings, engine, session_tokens="required") as stack:
        event = await event_of(stack)
        await stack.index(event.session_id, {"me": astronaut_png()})
        by_uuid = f"events/uuid/{event.uuid}"
        guest, stranger = await stack.token(event.session_id), await stack.token("other")
        assert code(await get(stack, "events/", headers=guest)) == (401, "key_required")
        assert (await get(stack, "events/", headers=KEY)).status_code == 200
        selfie = {"files": {"file": astronaut_png()}, "data": {"event_id": event.number}}
        for headers, status in [({}, 401), (stranger, 401), (guest, 200), (KEY, 200)]:
            assert (await get(stack, by_uuid, headers=headers)).status_code == status
            found = await stack.client.post("/api/v1/faces/search", headers=headers, **selfie)
            assert found.status_code == status, found.text


@pytest.mark.property(14)
async def test_property_14_an_invalid_legacy_parameter_is_refused_and_nothing_written(stack: SearchStack) -> None:
    event = await event_of(stack)
    listed = (await get(stack, "events/")).json()
    for name, value in [("skip", "-1"), ("skip", "x"), ("skip", "9" * 20), ("limit", "0"), ("limit", "1001")]:
        assert code(await get(stack, "events/", params={name: value})) == (422, "invalid_parameter")
    for uuid in ["", "1", "%00", "%FF", "x" * 300, f"{event.uuid}0", "'; --"]:
        assert code(await get(stack, f"events/uuid/{uuid}")) == (422, "invalid_parameter"), uuid
    for number in ["", "0", "-1", "1.5", "one", "9" * 20, "\x00"]:
        response = await search(stack, "search", astronaut_png(), event_id=number)
        assert response.status_code == 422, number
        assert response.json()["details"] == {"field": "event_id"}
    for threshold in ["", "-0.1", "1.01", "nan", "high"]:
        response = await search(stack, "search", astronaut_png(), event_id=event.number, threshold=threshold)
        assert code(response) == (422, "invalid_parameter")
    wrong: list[dict[str, object]] = [
        {},
        {"name": ""},
        {"name": None},
        {"name": 5},
        {"name": "x" * 1001},
        {"name": "a\x00b"},
        {"name": "x", "location": "\x00"},
        {"name": "x", "event_date": "tomorrow"},
        {"name": "x", "event_date": "2026-02-30"},
        {"name": "x", "event_date": 12},
        {"name": "x", "event_date": "0001-01-01T00:00:00+14:00"},
    ]
    for body in wrong:
        response = await stack.client.post("/api/v1/events/", json=body, headers=KEY)
        assert code(response) == (422, "invalid_parameter"), body
    for content in [b"", b"{", b"[]", b"\xff", b'"x"', b'{"name": "\\ud800"}']:
        headers = KEY | {"Content-Type": "application/json"}
        response = await stack.client.post("/api/v1/events/", content=content, headers=headers)
        assert code(response) == (422, "invalid_parameter"), content
    large = await stack.client.post("/api/v1/events/", json={"name": "x", "more": "x" * 70_000}, headers=KEY)
    assert code(large) == (413, "file_too_large")
    assert (await get(stack, "events/")).json() == listed


@pytest.mark.property(15)
async def test_property_15_hostile_names_of_events_are_data(stack: SearchStack) -> None:
    names = ["'; DROP TABLE legacy_events; --", "<script>", "\u202e\x01\r\n", "💍" * 500]
    for name in names:
        await event_of(stack, name)
    assert [event["name"] for event in (await get(stack, "events/")).json()] == names
