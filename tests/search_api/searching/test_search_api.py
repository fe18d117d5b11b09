"""Searches and statuses over HTTP, on a real database, engine and shards."""

import asyncio
import threading
from collections.abc import AsyncIterator

import httpx
import pytest
from support.samples import astronaut_png, coffee_png, group_jpeg
from support.search_stack import SearchStack, beside, open_search_stack

from facepass.embedding import FaceEngine
from facepass.schemas.http.probe_bodies import HealthAnswer, ReadyAnswer
from facepass.schemas.http.search_bodies import SearchAnswer
from facepass.schemas.http.session_bodies import SessionStatus
from facepass.schemas.settings import DatabaseSettings
from facepass.storage.writes import delete_session


@pytest.fixture
async def stack(database_settings: DatabaseSettings, engine: FaceEngine) -> AsyncIterator[SearchStack]:
    async with open_search_stack(database_settings, engine) as opened:
        yield opened


async def test_a_selfie_finds_its_photos_and_no_others(stack: SearchStack) -> None:
    await stack.index("s1", {"me": astronaut_png(), "others": group_jpeg(), "cup": coffee_png()})
    response = await stack.search("s1", astronaut_png())
    assert response.status_code == 200, response.text
    answer = SearchAnswer.model_validate(response.json())
    assert [match.photo_id for match in answer.matches] == ["me"]
    assert answer.matches[0].similarity > 0.93
    assert (answer.total_matches, answer.faces_in_selfie) == (1, 1)
    assert answer.freshness.indexed_photos == 2
    assert answer.freshness.complete
    assert (answer.freshness.behind, answer.freshness.pending, answer.freshness.failed) == (0, 0, 0)


async def test_the_box_lies_on_the_face_of_the_full_size_photo(stack: SearchStack) -> None:
    await stack.index("s1", {"me": astronaut_png()})
    box = (await stack.search("s1", astronaut_png())).json()["matches"][0]["box"]
    assert 120 < box["x"] < 250
    assert 20 < box["y"] < 130
    assert 60 < box["width"] < 150


async def test_sessions_never_mix(stack: SearchStack) -> None:
    await stack.index("s1", {"me": astronaut_png()})
    await stack.index("s2", {"others": group_jpeg()})
    assert (await stack.search("s2", astronaut_png(), threshold=0.7)).json()["matches"] == []
    everything = (await stack.search("s2", astronaut_png(), threshold=0)).json()["matches"]
    assert [match["photo_id"] for match in everything] == ["others"]


async def test_the_limit_counts_photos_and_the_total_does_not_end_there(stack: SearchStack) -> None:
    await stack.index("s1", {f"p{i}": astronaut_png() for i in range(3)})
    answer = (await stack.search("s1", astronaut_png(), limit=2)).json()
    assert [match["photo_id"] for match in answer["matches"]] == ["p0", "p1"]
    assert answer["total_matches"] == 3


@pytest.mark.parametrize("large_first", [True, False])
async def test_of_several_faces_the_largest_is_used(stack: SearchStack, large_first: bool) -> None:
    await stack.index("s1", {"me": astronaut_png(), "others": group_jpeg()})
    pictures = [(astronaut_png(), 2.0), (group_jpeg(), 0.5)]
    answer = (await stack.search("s1", beside(*(pictures if large_first else pictures[::-1])))).json()
    assert answer["faces_in_selfie"] > 1
    assert [match["photo_id"] for match in answer["matches"]] == ["me"]


async def test_only_pending_photos_are_an_incomplete_answer(stack: SearchStack) -> None:
    await stack.register("s1", "p1", "p2")
    response = await stack.search("s1", astronaut_png())
    assert response.status_code == 200, response.text
    answer = response.json()
    assert (answer["matches"], answer["total_matches"]) == ([], 0)
    assert (answer["freshness"]["pending"], answer["freshness"]["complete"]) == (2, False)


async def test_photos_without_a_face_are_a_complete_answer(stack: SearchStack) -> None:
    await stack.index("s1", {"cup": coffee_png()})
    answer = (await stack.search("s1", astronaut_png())).json()
    assert answer["matches"] == []
    assert answer["freshness"]["complete"] is True


async def test_an_unknown_session_is_not_found(stack: SearchStack) -> None:
    response = await stack.search("nowhere", astronaut_png())
    assert (response.status_code, response.json()["code"]) == (404, "session_not_found")


async def test_a_deleted_session_is_not_found_and_comes_back(stack: SearchStack) -> None:
    await stack.index("s1", {"me": astronaut_png()})
    assert (await stack.search("s1", astronaut_png())).status_code == 200
    from support.search_stack import event  # noqa: PLC0415

    deleted = event("s1", "me").event
    await delete_session(stack.parts.store, deleted.session_id, deleted.occurred_at)
    await stack.catch_up()
    response = await stack.search("s1", astronaut_png())
    assert (response.status_code, response.json()["code"]) == (404, "session_not_found")
    assert (await stack.client.get("/api/v1/search/status/s1")).json()["indexed"] is False
    await stack.index("s1", {"again": astronaut_png()})
    await stack.catch_up()
    assert [m["photo_id"] for m in (await stack.search("s1", astronaut_png())).json()["matches"]] == ["again"]


async def test_min_revision_waits_for_what_was_written(stack: SearchStack) -> None:
    await stack.index("s1", {"one": astronaut_png()})
    assert (await stack.search("s1", astronaut_png())).json()["total_matches"] == 1
    await stack.index("s1", {"two": astronaut_png()})
    revision = (await stack.client.get("/api/v1/search/status/s1")).json()["revision"]
    late = (await stack.search("s1", astronaut_png(), min_revision=revision)).json()
    assert (late["total_matches"], late["freshness"]["behind"]) == (1, 1)
    assert late["freshness"]["complete"] is False
    waiting = asyncio.create_task(stack.search("s1", astronaut_png(), min_revision=revision, wait_ms=10_000))
    await stack.catch_up()
    found = (await waiting).json()
    assert (found["total_matches"], found["freshness"]["revision"]) == (2, revision)


async def test_the_event_loop_goes_on_during_an_analysis(stack: SearchStack) -> None:
    await stack.index("s1", {"me": astronaut_png()})
    searching = asyncio.create_task(stack.search("s1", group_jpeg()))
    turns = 0
    while not searching.done():
        await asyncio.sleep(0)
        turns += 1
    assert (await searching).status_code == 200
    assert turns > 200
    assert any(thread.name.startswith("selfie") for thread in threading.enumerate())


async def test_the_status_counts_what_is_stored(stack: SearchStack) -> None:
    await stack.index("s1", {"me": astronaut_png(), "others": group_jpeg(), "cup": coffee_png()})
    await stack.register("s1", "later")
    status = SessionStatus.model_validate((await stack.client.get("/api/v1/search/status/s1")).json())
    assert (status.session_id, status.indexed, status.photo_count, status.face_count) == ("s1", True, 2, 7)
    assert (status.pending, status.failed, status.no_face, status.revision) == (1, 0, 1, 1)
    assert status.last_indexed is not None


async def test_the_status_of_an_unknown_session_is_zeros(stack: SearchStack) -> None:
    response = await stack.client.get("/api/v1/search/status/nowhere")
    assert response.status_code == 200
    assert response.json() == {
        "session_id": "nowhere",
        "indexed": False,
        "photo_count": 0,
        "face_count": 0,
        "last_indexed": None,
        "pending": 0,
        "failed": 0,
        "no_face": 0,
        "revision": 0,
    }


@pytest.mark.parametrize("prefix", ["/api/v1", "/api/v2"])
async def test_both_versions_have_the_same_routes(stack: SearchStack, prefix: str) -> None:
    await stack.index("s1", {"me": astronaut_png()})
    found = await stack.client.post(
        f"{prefix}/search", files={"image": astronaut_png()}, data={"session_id": "s1"}
    )
    assert found.json()["total_matches"] == 1
    assert (await stack.client.get(f"{prefix}/search/status/s1")).json()["photo_count"] == 1


@pytest.mark.parametrize("prefix", ["", "/api/v1", "/api/v2"])
async def test_health_readiness_and_metrics_are_everywhere(stack: SearchStack, prefix: str) -> None:
    health = HealthAnswer.model_validate((await stack.client.get(f"{prefix}/health")).json())
    assert (health.status, health.database, health.broker) == ("healthy", "connected", "connected")
    assert health.face_recognition_model == "starter"
    ready = await stack.client.get(f"{prefix}/ready")
    assert (ready.status_code, ReadyAnswer.model_validate(ready.json()).status) == (200, "ready")
    metrics = await stack.client.get(f"{prefix}/metrics")
    assert metrics.headers["content-type"].startswith("text/plain")
    for name in ("search_requests_total", "search_duration_seconds", "db_connections_active", "embeddings_total"):
        assert name in metrics.text


async def test_without_the_broker_health_is_degraded(
    database_settings: DatabaseSettings, engine: FaceEngine
) -> None:
    async with open_search_stack(database_settings, engine, broker_healthy=False) as stack:
        health = await stack.client.get("/health")
    assert (health.status_code, health.json()["status"]) == (200, "degraded")


async def test_documentation_is_served(stack: SearchStack) -> None:
    page: httpx.Response = await stack.client.get("/docs")
    assert page.status_code == 200
    assert "/openapi.json" in page.text
