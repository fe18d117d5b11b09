"""Every refusal over HTTP has its status, its code and the one shape of errors."""

import asyncio
from collections.abc import AsyncIterator

import cv2
import httpx
import numpy as np
import pytest
from support.samples import astronaut_png, coffee_png
from support.search_stack import SearchStack, open_search_stack

from facepass.embedding import FaceEngine
from facepass.schemas.http.body import ErrorBody
from facepass.schemas.settings import DatabaseSettings, LeaseSettings, SearchSettings


@pytest.fixture
async def stack(database_settings: DatabaseSettings, engine: FaceEngine) -> AsyncIterator[SearchStack]:
    async with open_search_stack(database_settings, engine) as opened:
        yield opened


def refused(response: httpx.Response, status: int, code: str) -> ErrorBody:
    assert response.headers["content-type"] == "application/json", response.text
    error = ErrorBody.model_validate(response.json())
    assert (response.status_code, str(error.code)) == (status, code)
    assert response.headers["x-request-id"]
    return error


async def test_no_face(stack: SearchStack) -> None:
    await stack.register("s1", "p1")
    refused(await stack.search("s1", coffee_png()), 400, "no_face")


@pytest.mark.property(17)
async def test_property_17_other_types_are_refused_whatever_they_claim(stack: SearchStack) -> None:
    await stack.register("s1", "p1")
    for selfie in (b"", b"not an image", b"GIF89a" + bytes(100), b"%PDF-1.7", b"<svg xmlns='http://x.org/'/>"):
        response = await stack.client.post(
            "/api/v1/search", files={"file": ("selfie.jpg", selfie, "image/jpeg")}, data={"session_id": "s1"}
        )
        refused(response, 415, "unsupported_image")


@pytest.mark.property(17)
async def test_property_17_a_photo_is_taken_whatever_it_claims(stack: SearchStack) -> None:
    await stack.index("s1", {"me": astronaut_png()})
    for declared in ("text/html", "application/x-evil", "", "image/gif"):
        response = await stack.client.post(
            "/api/v1/search", files={"file": ("x.exe", astronaut_png(), declared)}, data={"session_id": "s1"}
        )
        assert response.json()["total_matches"] == 1


@pytest.mark.property(17)
async def test_property_17_a_truncated_selfie_is_refused(stack: SearchStack) -> None:
    await stack.register("s1", "p1")
    refused(await stack.search("s1", astronaut_png()[:400_000]), 422, "damaged_image")


@pytest.mark.property(17)
async def test_property_17_too_many_pixels_are_refused(stack: SearchStack) -> None:
    await stack.register("s1", "p1")
    huge = bytes(cv2.imencode(".png", np.zeros((4097, 4097), np.uint8))[1])
    refused(await stack.search("s1", huge), 413, "too_many_pixels")


@pytest.mark.property(17)
async def test_property_17_a_file_over_the_limit_is_refused(stack: SearchStack) -> None:
    error = refused(await stack.search("s1", bytes(10_000_001)), 413, "file_too_large")
    assert error.details == {"limit": 10_000_000}


async def test_bad_parameters(stack: SearchStack) -> None:
    for name, value in [("threshold", "1.5"), ("threshold", "nan"), ("limit", "0"), ("limit", "1001")]:
        error = refused(await stack.search("s1", astronaut_png(), **{name: value}), 422, "invalid_parameter")
        assert error.details == {"field": name}
    for session_id in ["", "x" * 256, "a\x00b"]:
        error = refused(await stack.search(session_id, astronaut_png()), 422, "invalid_id")
        assert error.details == {"field": "session_id"}


async def test_no_selfie_no_session_no_form(stack: SearchStack) -> None:
    url = "/api/v1/search"
    refused(await stack.client.post(url, data={"session_id": "s1"}), 422, "invalid_parameter")
    refused(await stack.client.post(url, files={"file": b"x"}), 422, "invalid_parameter")
    refused(await stack.client.post(url, json={"session_id": "s1"}), 422, "invalid_parameter")
    refused(await stack.client.post(url), 422, "invalid_parameter")


async def test_unknown_routes_and_methods(stack: SearchStack) -> None:
    refused(await stack.client.get("/"), 404, "not_found")
    refused(await stack.client.get("/api/v3/health"), 404, "not_found")
    refused(await stack.client.get("/api/v1/health/"), 404, "not_found")
    response = await stack.client.get("/api/v1/search")
    refused(response, 405, "method_not_allowed")
    assert response.headers["allow"] == "POST"
    refused(await stack.client.delete("/api/v1/search/status/s1"), 405, "method_not_allowed")


async def test_a_bad_session_id_in_the_path(stack: SearchStack) -> None:
    for path in ("", "%00", "x" * 256, "%FF", "a%C0%AF"):
        refused(await stack.client.get(f"/api/v1/search/status/{path}"), 422, "invalid_id")


async def test_a_lease_that_has_run_out(database_settings: DatabaseSettings, engine: FaceEngine) -> None:
    short = LeaseSettings(lease_seconds=0.2)
    async with open_search_stack(database_settings, engine, lease=short) as stack:
        await stack.index("s1", {"me": astronaut_png()})
        await asyncio.sleep(0.3)
        response = await stack.search("s1", astronaut_png())
        refused(response, 503, "lease_expired")
        assert int(response.headers["retry-after"]) > 0
        ready = await stack.client.get("/ready")
        assert (ready.status_code, ready.json()["status"], ready.json()["lease"]) == (503, "not_ready", False)


async def test_an_answer_never_leaves_after_the_lease_noted_before_the_shard(
    database_settings: DatabaseSettings, engine: FaceEngine
) -> None:
    """A lease that a later poll renews does not count: the shard was taken hold of under the earlier one."""
    async with open_search_stack(database_settings, engine, lease=LeaseSettings(lease_seconds=1.5)) as stack:
        await stack.index("s1", {"me": astronaut_png()})
        searching = asyncio.create_task(stack.search("s1", astronaut_png(), min_revision=99, wait_ms=3000))
        while not searching.done():
            await stack.parts.replica.poll()
            await asyncio.sleep(0.05)
        refused(await searching, 503, "lease_expired")
        assert (await stack.search("s1", astronaut_png())).status_code == 200


async def test_no_answer_leaves_a_replica_that_has_left(
    database_settings: DatabaseSettings, engine: FaceEngine
) -> None:
    """No deletion waits for it any more, so what it holds may be deleted already."""
    async with open_search_stack(database_settings, engine) as stack:
        await stack.index("s1", {"me": astronaut_png()})
        searching = asyncio.create_task(stack.search("s1", astronaut_png(), min_revision=99, wait_ms=1500))
        await asyncio.sleep(0.5)
        assert not searching.done()
        await stack.parts.replica.close()
        refused(await searching, 503, "lease_expired")


async def test_more_searches_than_slots(database_settings: DatabaseSettings, engine: FaceEngine) -> None:
    one = SearchSettings(searches_at_once=1)
    async with open_search_stack(database_settings, engine, search=one) as stack:
        await stack.index("s1", {"me": astronaut_png()})
        begun, go_on = asyncio.Event(), asyncio.Event()

        async def slow_upload() -> AsyncIterator[bytes]:
            yield b'--b\r\nContent-Disposition: form-data; name="session_id"\r\n\r\ns1\r\n'
            begun.set()
            await go_on.wait()
            yield (
                b'--b\r\nContent-Disposition: form-data; name="file"\r\n\r\n' + astronaut_png() + b"\r\n--b--\r\n"
            )

        headers = {"Content-Type": "multipart/form-data; boundary=b"}
        first = asyncio.create_task(stack.client.post("/api/v1/search", content=slow_upload(), headers=headers))
        await begun.wait()
        response = await stack.search("s1", astronaut_png())
        refused(response, 503, "overloaded")
        assert int(response.headers["retry-after"]) > 0
        assert (await stack.client.get("/api/v1/search/status/s1")).status_code == 200
        go_on.set()
        assert (await first).json()["total_matches"] == 1
        for _ in range(3):
            refused(await stack.search("s1", b"no image"), 415, "unsupported_image")
        assert (await stack.search("s1", astronaut_png())).status_code == 200


@pytest.mark.parametrize("pause", [None, 0.02], ids=["silent", "dripping"])
async def test_an_upload_that_never_ends_gives_its_slot_back(
    stack: SearchStack, monkeypatch: pytest.MonkeyPatch, pause: float | None
) -> None:
    monkeypatch.setattr("facepass.search_api.http.request_body.GRACE_SECONDS", 0.1)

    async def stalled() -> AsyncIterator[bytes]:
        yield b"--b\r\n"
        while pause is not None:
            await asyncio.sleep(pause)
            yield b"x"
        await asyncio.Event().wait()

    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    refused(await stack.client.post("/api/v1/search", content=stalled(), headers=headers), 408, "upload_timeout")


async def test_a_database_that_is_gone(stack: SearchStack) -> None:
    await stack.parts.store.database.pool.close()
    for response in (
        await stack.client.get("/api/v1/search/status/s1"),
        await stack.search("s1", astronaut_png()),
    ):
        refused(response, 503, "database_unavailable")
        assert int(response.headers["retry-after"]) > 0
    health = await stack.client.get("/health")
    assert (health.status_code, health.json()["status"]) == (503, "unhealthy")
    ready = await stack.client.get("/ready")
    assert (ready.status_code, ready.json()["database"]) == (503, False)


async def test_a_loaded_session_is_served_without_the_database(stack: SearchStack) -> None:
    await stack.index("s1", {"me": astronaut_png()})
    await stack.search("s1", astronaut_png())
    await stack.parts.store.database.pool.close()
    assert (await stack.search("s1", astronaut_png())).json()["total_matches"] == 1
