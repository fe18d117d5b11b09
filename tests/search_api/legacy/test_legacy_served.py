"""The first generation's calls, as its documents show them, against the running system."""

import asyncio
import time
import uuid
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from pydantic import SecretStr
from support.running import PATIENCE_SECONDS, Running
from support.samples import astronaut_jpeg, coffee_png, group_jpeg

from facepass.schemas.callers import Scope
from facepass.schemas.settings import DatabaseSettings
from facepass.storage.callers.api_keys import create_key
from facepass.storage.database import open_database


@pytest.fixture
def key(running: Running) -> dict[str, str]:
    async def create() -> str:
        async with open_database(DatabaseSettings(database=SecretStr(running.database))) as database:
            return (await create_key(database, "old client", [Scope.INDEX])).key

    return {"X-API-Key": asyncio.run(create())}


@pytest.fixture
def client(running: Running) -> Iterator[httpx.Client]:
    with running.client() as opened:
        yield opened


def created(client: httpx.Client, key: dict[str, str], **fields: str) -> dict[str, Any]:
    response = client.post("/api/v1/events/", json=fields, headers=key)
    assert response.status_code == 200, response.text
    event: dict[str, Any] = response.json()
    deadline = time.monotonic() + PATIENCE_SECONDS
    while (valid := client.get(f"/api/v1/sessions/validate/{event['event_uuid']}")).status_code != 200:
        assert time.monotonic() < deadline, valid.text
        time.sleep(0.1)
    assert valid.json()["session"]["name"] == fields["name"]
    return event


def test_an_event_from_its_creation_to_its_deletion(
    client: httpx.Client, running: Running, key: dict[str, str]
) -> None:
    event = created(client, key, name="Тестовое мероприятие", location="Москва")
    assert client.get(f"/api/v1/events/uuid/{event['event_uuid']}").json() == event
    form = {"event_id": str(event["id"])}
    found = client.post("/api/v1/faces/search", data=form, files={"file": astronaut_jpeg()})
    assert (found.status_code, found.json()["matches"]) == (200, []), "before its first photo"

    uploaded = client.post("/api/v1/faces/upload", data=form, files={"file": astronaut_jpeg()}, headers=key)
    assert uploaded.status_code == 200, uploaded.text
    assert (uploaded.json()["indexed"], uploaded.json()["faces_detected"]) == (True, 1)
    assert uploaded.headers["deprecation"]
    others = client.post("/api/v2/faces/upload", data=form, files={"file": group_jpeg()}, headers=key)
    assert others.json()["photo_id"] != uploaded.json()["photo_id"]
    running.wait_until_settled(event["event_uuid"], 2)
    search = form | {"threshold": "0.7"}
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        answer = client.post("/api/v1/faces/search", data=search, files={"file": astronaut_jpeg()}).json()
        if answer["freshness"]["indexed_photos"] == 2:
            break
        assert time.monotonic() < deadline, answer
        time.sleep(0.1)
    assert [match["photo_id"] for match in answer["matches"]] == [uploaded.json()["photo_id"]]

    gone = client.delete(f"/api/v1/index/{event['event_uuid']}", headers=key)
    assert gone.status_code == 200, gone.text
    assert client.get(f"/api/v1/events/uuid/{event['event_uuid']}").status_code == 404
    assert client.post("/api/v1/faces/search", data=search, files={"file": astronaut_jpeg()}).status_code == 404


def test_what_an_upload_refuses(client: httpx.Client, key: dict[str, str]) -> None:
    event = created(client, key, name=f"Refusals {uuid.uuid4()}")
    number = str(event["id"])
    refusals: list[tuple[dict[str, str], bytes, dict[str, str], int, str]] = [
        ({"event_id": number}, astronaut_jpeg(), {}, 401, "key_required"),
        ({"event_id": "999999999"}, astronaut_jpeg(), key, 404, "event_not_found"),
        ({"event_id": "x"}, astronaut_jpeg(), key, 422, "invalid_id"),
        ({}, astronaut_jpeg(), key, 422, "invalid_parameter"),
        ({"event_id": number}, b"no picture", key, 415, "unsupported_image"),
        ({"event_id": number}, coffee_png(), key, 400, "no_face"),
    ]
    for fields, photo, headers, status, code in refusals:
        response = client.post("/api/v1/faces/upload", data=fields, files={"file": photo}, headers=headers)
        assert (response.status_code, response.json()["code"]) == (status, code)
        assert response.headers["deprecation"]
