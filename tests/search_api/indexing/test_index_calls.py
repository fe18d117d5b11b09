"""What calls that index and delete answer, moment by moment: the tests decide what the workers do, and when."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import httpx
import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs
from support.index_workers import KEY, Calls, apply_deletion, code, faces_of, open_calls, register, settle
from support.live_server import live_server
from support.samples import astronaut_png, coffee_png
from support.streams_support import eventually

from facepass.embedding import FaceEngine
from facepass.schemas.errors import ErrorCode
from facepass.schemas.events import PhotoDeleted, PhotoIndexed
from facepass.schemas.faces import PhotoFaces
from facepass.schemas.settings import DatabaseSettings
from facepass.search_api.indexing import batch_call as batch_module
from facepass.use_cases import photo_results

Opener = Callable[..., AbstractAsyncContextManager[Calls]]


@pytest.fixture(scope="module")
def faces(engine: FaceEngine) -> PhotoFaces:
    return faces_of(engine, astronaut_png())


@pytest.fixture
def opened(database_settings: DatabaseSettings, engine: FaceEngine, faces: PhotoFaces) -> Opener:
    return partial(open_calls, database_settings, engine, faces)


@pytest.fixture
async def calls(opened: Opener) -> AsyncIterator[Calls]:
    async with opened() as made:
        yield made


def outcomes_by(source: str) -> float:
    return REGISTRY.get_sample_value("index_outcomes_total", {"source": source}) or 0.0


# --- waiting ---


async def test_an_update_answers_at_once(calls: Calls, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(photo_results, "_FIRST_LOOK_SECONDS", 3600.0)
    before = outcomes_by("update")
    with capture_logs() as logs:
        answer = await calls.indexed()
    assert answer.status_code == 200
    confidence = answer.json().pop("confidence")
    assert confidence == pytest.approx(calls.faces.faces[0].confidence)
    assert answer.json() | {"confidence": 0} == {
        "indexed": True,
        "photo_id": "p",
        "confidence": 0,
        "faces_detected": 1,
        "revision": 1,
    }
    assert outcomes_by("update") == before + 1
    (event,) = calls.workers.published
    assert isinstance(event, PhotoIndexed)
    assert (event.session_id, event.photo_id, event.s3_key) == ("s", "p", "a.jpg")
    assert abs(event.occurred_at - datetime.now(UTC)) < timedelta(minutes=1)
    (line,) = [line for line in logs if line["event"] == "request"]
    assert (line["route"], line["status"]) == ("/api/v1/index", 200)


async def test_lost_updates_cost_a_second_and_no_connection(opened: Opener) -> None:
    """More calls wait than there are connections; the ledger alone tells them all."""
    before = outcomes_by("ledger")
    async with opened(connections=2) as calls:
        waiting = [asyncio.create_task(calls.index(f"photo-{number}")) for number in range(12)]
        events = [await calls.workers.next_photo() for _ in waiting]
        status = await calls.stack.client.get("/api/v1/search/status/s")
        assert status.status_code == 200
        for event in events:
            await settle(calls.stack.parts, event, found=calls.faces)
        answers = await asyncio.gather(*waiting)
    assert [answer.status_code for answer in answers] == [200] * 12
    assert outcomes_by("ledger") == before + 12


async def test_an_outcome_of_an_older_event_is_none(calls: Calls, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither in an update nor in the ledger."""
    monkeypatch.setattr(photo_results, "_FIRST_LOOK_SECONDS", 0.01)
    first = asyncio.create_task(calls.index(key="old.jpg"))
    old = await settle(calls.stack.parts, await calls.workers.next_photo(), found=calls.faces)
    await calls.note(old)
    await first
    call = asyncio.create_task(calls.index(key="new.jpg"))
    event = await calls.workers.next_photo()
    await calls.note(old)  # delivered again
    await asyncio.sleep(0.3)  # the ledger, looked at meanwhile, has the old one's
    assert not call.done()
    await calls.note(await settle(calls.stack.parts, event, error=ErrorCode.DAMAGED_IMAGE))
    assert code(await call) == (422, "damaged_image")


async def test_a_newer_event_of_somebody_else_answers_too(calls: Calls) -> None:
    call = asyncio.create_task(calls.index())
    mine = await calls.workers.next_photo()
    newer = mine.model_copy(update={"occurred_at": mine.occurred_at + timedelta(seconds=1), "s3_key": "b.jpg"})
    await calls.note(await settle(calls.stack.parts, newer, found=calls.faces))
    assert (await call).json()["indexed"] is True


async def test_a_call_that_takes_too_long_says_where_to_look(opened: Opener) -> None:
    async with opened(index_wait_seconds=0.2) as calls:
        answer = await calls.index()
        assert answer.status_code == 202
        assert answer.json() == {
            "indexed": False,
            "photo_id": "p",
            "code": "pending",
            "status_url": "/api/v1/search/status/s",
        }
        assert answer.headers["Location"] == answer.json()["status_url"]
        await register(calls.stack.parts, await calls.workers.next_photo())
        assert (await calls.stack.client.get(answer.headers["Location"])).json()["pending"] == 1

        # repeated while it waits: the same event is waited for
        assert (await calls.index()).status_code == 202
        assert len(calls.workers.published) == 1
        # one that was tried, and waits for the photo store, is asked for again
        assert (await calls.index(key="other.jpg")).status_code == 202
        assert len(calls.workers.published) == 2


async def test_a_photo_is_deleted_while_its_call_waits(calls: Calls) -> None:
    for told in (True, False):  # by the update, and by the ledger alone
        call = asyncio.create_task(calls.index(f"photo-{told}"))
        event = await calls.workers.next_photo()
        await register(calls.stack.parts, event)
        deleting = asyncio.create_task(calls.delete(f"/index/s/photos/{event.photo_id}"))
        update = await apply_deletion(calls.stack.parts, await calls.workers.next())
        if told:
            await calls.note(update)
        assert code(await call) == (409, "fenced")
        assert (await calls.polling(deleting)).json()["photos_removed"] == 1


async def test_a_deleted_session_ends_the_wait_of_all_its_photos(
    calls: Calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(photo_results, "_FIRST_LOOK_SECONDS", 3600.0)
    call = asyncio.create_task(calls.batch({"a": "a.jpg", "b": "b.jpg"}))
    for _ in range(2):
        await calls.workers.next_photo()
    deleting = asyncio.create_task(calls.delete("/index/s"))
    await calls.note(await apply_deletion(calls.stack.parts, await calls.workers.next()))
    answer = (await call).json()
    assert [error["code"] for error in answer["errors"]] == ["fenced", "fenced"]
    assert (await calls.polling(deleting)).json()["deleted"] is True


# --- answers ---


async def test_what_is_indexed_and_unchanged_needs_no_kafka(calls: Calls) -> None:
    first = await calls.indexed()
    calls.workers.broker_there = False
    again = await calls.index()
    assert (again.status_code, again.json()) == (200, first.json())
    assert len(calls.workers.published) == 1
    refused = await calls.index(key="other.jpg")
    assert code(refused) == (503, "broker_unavailable")
    assert int(refused.headers["Retry-After"]) > 0
    batch = await calls.batch({"p": "a.jpg"})
    assert (batch.json()["indexed"], batch.json()["failed"]) == (1, 0)
    assert code(await calls.batch({"p": "a.jpg", "q": "q.jpg"})) == (503, "broker_unavailable")
    assert code(await calls.delete("/index/s")) == (503, "broker_unavailable")
    assert code(await calls.delete("/index/s/photos/p")) == (503, "broker_unavailable")


STATUSES = {
    ErrorCode.PHOTO_NOT_FOUND: 422,
    ErrorCode.STORE_FORBIDDEN: 422,
    ErrorCode.INVALID_S3_KEY: 422,
    ErrorCode.FILE_TOO_LARGE: 413,
    ErrorCode.TOO_MANY_PIXELS: 413,
    ErrorCode.UNSUPPORTED_IMAGE: 415,
    ErrorCode.DAMAGED_IMAGE: 422,
    ErrorCode.DECODER_FAILED: 422,
    ErrorCode.STORE_UNAVAILABLE: 503,
    ErrorCode.INTERNAL: 500,
}


async def test_a_failed_photo_answers_with_its_own_code_and_is_tried_again(calls: Calls) -> None:
    for error, status in STATUSES.items():
        call = asyncio.create_task(calls.index())
        event = await calls.workers.next_photo()
        await calls.note(await settle(calls.stack.parts, event, error=error))
        assert code(await call) == (status, str(error))
    assert len(calls.workers.published) == len(STATUSES)
    times = [event.occurred_at for event in calls.workers.published]
    assert times == sorted(set(times))


async def test_photos_without_a_usable_face(calls: Calls, engine: FaceEngine) -> None:
    none = faces_of(engine, coffee_png())
    for _ in range(2):  # to try again would not help: the second time the ledger answers
        call = asyncio.create_task(calls.index())
        if not calls.workers.published:
            await calls.note(await settle(calls.stack.parts, await calls.workers.next_photo(), found=none))
        assert code(await call) == (400, "no_face")
    assert len(calls.workers.published) == 1


async def test_a_row_of_a_producer_whose_clock_runs_ahead_is_passed(calls: Calls) -> None:
    ahead = PhotoIndexed(
        session_id="s",
        photo_id="p",
        s3_key="old.jpg",
        occurred_at=(datetime.now(UTC) + timedelta(minutes=2)).isoformat(),
    )
    await settle(calls.stack.parts, ahead, error=ErrorCode.PHOTO_NOT_FOUND)
    assert (await calls.indexed(key="old.jpg")).status_code == 200
    await apply_deletion(calls.stack.parts, _deleted(ahead.occurred_at + timedelta(minutes=1)))
    assert code(await calls.index(key="new.jpg")) == (409, "fenced")
    assert len(calls.workers.published) == 1


def _deleted(occurred_at: datetime) -> Any:
    return PhotoDeleted(session_id="s", photo_id="p", occurred_at=occurred_at.isoformat())


NO_PHOTOS = [
    ({"session_id": "s", "s3_key": "a"}, "invalid_parameter"),
    ({"photo_id": "", "session_id": "s", "s3_key": "a"}, "invalid_id"),
    ({"photo_id": "p", "session_id": "s" * 256, "s3_key": "a"}, "invalid_id"),
    ({"photo_id": True, "session_id": "s", "s3_key": "a"}, "invalid_id"),
    ({"photo_id": 1.5, "session_id": "s", "s3_key": "a"}, "invalid_id"),
    ({"photo_id": "p\x00", "session_id": "s", "s3_key": "a"}, "invalid_id"),
    ({"photo_id": "p", "session_id": "s", "s3_key": 7}, "invalid_parameter"),
    ({"photo_id": "p", "session_id": "s", "s3_key": ""}, "invalid_s3_key"),
    ({"photo_id": "p", "session_id": "s", "s3_key": "/etc/passwd"}, "invalid_s3_key"),
    ({"photo_id": "p", "session_id": "s", "s3_key": "a/../../b"}, "invalid_s3_key"),
    ({"photo_id": "p", "session_id": "s", "s3_key": "s3://other/a.jpg"}, "invalid_s3_key"),
    ({"photo_id": "p", "session_id": "s", "s3_key": "http://127.0.0.1/a"}, "invalid_s3_key"),
    ({"photo_id": "p", "session_id": "s", "s3_key": "facepass-uploads/x"}, "invalid_s3_key"),
    ({"photo_id": "p", "session_id": "s", "s3_key": "é" * 513}, "invalid_s3_key"),
    (["p"], "invalid_parameter"),
]


async def test_what_is_no_photo_is_refused_before_anything_is_published(calls: Calls) -> None:
    for body, expected in NO_PHOTOS:
        assert code(await calls.post("/index", json=body)) == (422, expected), body
    assert calls.workers.published == []


async def test_bodies_that_are_none(calls: Calls) -> None:
    json_type = {"content-type": "application/json"}
    expected = [
        ({"content": b"{", "headers": json_type}, (422, "invalid_parameter")),
        ({"content": b'{"photo_id": "\xff"}', "headers": json_type}, (422, "invalid_parameter")),
        ({"content": b"{}", "headers": {"content-type": "text/plain"}}, (422, "invalid_parameter")),
        ({"content": b" " * 65537, "headers": json_type}, (413, "file_too_large")),
        ({"data": {"photo_id": "p", "session_id": "s"}, "files": {"x": b""}}, (422, "invalid_parameter")),
        ({"data": {"photo_id": "p"}, "files": {"file": astronaut_png()}}, (422, "invalid_parameter")),
        (
            {"data": {"photo_id": "p", "session_id": "s"}, "files": {"file": b"GIF89a"}},
            (415, "unsupported_image"),
        ),
    ]
    for request, answer in expected:
        assert code(await calls.post("/index", **request)) == answer, request
    assert code(await calls.batch({})) == (422, "invalid_parameter")
    assert code(await calls.batch({f"p{n}": "a.jpg" for n in range(2001)})) == (422, "invalid_parameter")
    nested = {"session_id": "s", "photos": [{"photo_id": "p", "s3_key": "a"}, {"photo_id": "", "s3_key": "a"}]}
    answer = await calls.post("/index/batch", json=nested)
    assert code(answer) == (422, "invalid_id")
    assert answer.json()["details"]["field"] == "photos.1.photo_id"
    assert calls.workers.published == []


async def test_every_route_needs_a_key(calls: Calls) -> None:
    for method, path in (
        ("POST", "/index"),
        ("POST", "/index/batch"),
        ("DELETE", "/index/s"),
        ("DELETE", "/index/s/photos/p"),
    ):
        for prefix in ("/api/v1", "/api/v2"):
            for headers in ({}, {"X-API-Key": "wrong"}):
                answer = await calls.stack.client.request(method, prefix + path, headers=headers, content=b"{}")
                assert code(answer) == (401, "key_required"), (method, path)
    assert calls.workers.published == []


# --- batches ---


async def test_photos_that_are_late_count_as_failed(opened: Opener) -> None:
    async with opened(index_wait_seconds=0.2, batch_wait_per_photo_seconds=0.001) as calls:
        await calls.indexed("done", "done.jpg")
        call = asyncio.create_task(calls.batch({"done": "done.jpg", "late": "late.jpg", "bad": "../x"}))
        assert (await calls.workers.next_photo()).photo_id == "late"
        answer = (await call).json()
    assert {name: answer[name] for name in ("indexed", "failed", "no_face", "pending", "revision")} == {
        "indexed": 1,
        "failed": 2,
        "no_face": 0,
        "pending": 1,
        "revision": 1,
    }
    assert {e["photo_id"]: e["code"] for e in answer["errors"]} == {"late": "pending", "bad": "invalid_s3_key"}


async def test_a_photo_listed_twice_is_indexed_once_and_counted_twice(calls: Calls) -> None:
    photos = [{"photo_id": "p", "s3_key": key} for key in ("first.jpg", "last.jpg")] + [
        {"photo_id": 7, "s3_key": "7.jpg"}
    ]
    call = asyncio.create_task(calls.post("/index/batch", json={"session_id": "s", "photos": photos}))
    keys = {}
    for _ in range(2):
        event = await calls.workers.next_photo()
        keys[event.photo_id] = event.s3_key
        await calls.note(await settle(calls.stack.parts, event, found=calls.faces))
    answer = (await call).json()
    assert keys == {"p": "last.jpg", "7": "7.jpg"}
    assert (answer["indexed"], answer["failed"], answer["no_face"]) == (3, 0, 0)


async def test_events_have_heartbeats_and_end_with_the_answer(
    calls: Calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch_module, "STEP_SECONDS", 0.1)
    call = asyncio.create_task(calls.batch({"p": "a.jpg"}, Accept="text/html, text/event-stream;q=0.9"))
    event = await calls.workers.next_photo()
    await asyncio.sleep(0.5)
    await calls.note(await settle(calls.stack.parts, event, found=calls.faces))
    answer = await call
    assert answer.headers["content-type"].startswith("text/event-stream")
    blocks = answer.text.split("\n\n")
    assert blocks[0] == 'event: progress\ndata: {"indexed":0,"failed":0,"no_face":0,"pending":1}'
    assert ": still waiting" in blocks[1:-3]
    assert blocks[-3] == 'event: progress\ndata: {"indexed":1,"failed":0,"no_face":0,"pending":0}'
    assert blocks[-2].startswith('event: result\ndata: {"indexed": 1, "failed": 0, "errors": []')
    assert blocks[-1] == ""

    # what fails before there is progress is an ordinary answer
    calls.workers.broker_there = False
    refused = await calls.batch({"q": "q.jpg"}, Accept="text/event-stream")
    assert code(refused) == (503, "broker_unavailable")


async def test_a_caller_that_goes_away_ends_its_batch(calls: Calls, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_module, "STEP_SECONDS", 0.1)
    body = {"session_id": "s", "photos": [{"photo_id": "p", "s3_key": "a.jpg"}]}
    async with live_server(calls.stack.app) as url:
        for accept in ("text/event-stream", "application/json"):
            async with httpx.AsyncClient(trust_env=False, timeout=60) as client:
                headers = {"X-API-Key": KEY, "Accept": accept, "Idempotency-Key": accept}
                call = asyncio.create_task(client.post(f"{url}/api/v1/index/batch", json=body, headers=headers))
                await eventually(lambda: REGISTRY.get_sample_value("index_calls_waiting") == 1)
                assert not call.done()
                call.cancel()
                await asyncio.wait([call])
            await eventually(lambda: REGISTRY.get_sample_value("index_calls_waiting") == 0)


# --- deletions ---


async def test_a_deletion_is_claimed_only_when_no_replica_serves_it(opened: Opener) -> None:
    async with opened(index_wait_seconds=0.3, delete_wait_seconds=0.3) as calls:
        await calls.indexed()
        answer = await calls.delete("/index/s")
        assert code(answer) == (503, "pending")
        assert int(answer.headers["Retry-After"]) > 0
        assert (answer.json()["details"]["applied"], answer.json()["details"]["embeddings_removed"]) == (0, 0)

        await apply_deletion(calls.stack.parts, calls.workers.published[-1])
        call = asyncio.create_task(calls.delete("/index/s"))
        await calls.workers.next()
        await apply_deletion(calls.stack.parts, await calls.workers.next())
        answer = await call  # applied, but the replica of this stack has not polled since
        assert code(answer) == (503, "pending")
        assert answer.json()["details"]["applied"] == 1
        assert "deleted" not in answer.json()


async def test_the_receipt_says_what_the_deletion_removed(calls: Calls) -> None:
    await calls.indexed("one", "one.jpg")
    await calls.indexed("two", "two.jpg")
    call = asyncio.create_task(calls.delete("/index/s"))
    event = await calls.workers.next()
    await calls.indexed("three", "three.jpg")  # after the fence, before it is applied: stays
    await apply_deletion(calls.stack.parts, event)
    receipt = (await calls.polling(call)).json()
    times = [datetime.fromisoformat(receipt[name]) for name in ("fence", "applied_at", "acknowledged_at")]
    assert times == sorted(times)
    assert times[0] == event.occurred_at
    assert {name: receipt[name] for name in ("deleted", "embeddings_removed", "photos_removed")} == {
        "deleted": True,
        "embeddings_removed": 2,
        "photos_removed": 2,
    }
    assert (receipt["session_id"], receipt["photo_id"], receipt["uploads_pending"]) == ("s", None, 0)
    assert (await calls.stack.client.get("/api/v1/search/status/s")).json()["face_count"] == 1


async def test_ids_with_slashes_in_a_path(calls: Calls) -> None:
    call = asyncio.create_task(calls.delete("/index/a%2Fphotos%2Fb/photos/c%2Fd"))
    event = await calls.workers.next()
    assert (event.session_id, getattr(event, "photo_id", None)) == ("a/photos/b", "c/d")
    await apply_deletion(calls.stack.parts, event)
    assert (await calls.polling(call)).status_code == 200
