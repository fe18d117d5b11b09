"""Calls that index and delete, on the whole running system: Pixora's client, uploads, batches, concurrency."""

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import httpx
import numpy as np
import psycopg
import pytest
import requests
from support.pixora_client import pixora
from support.running import Running, found, new_session
from support.samples import astronaut_jpeg, coffee_png, group_jpeg

FAILING = {
    "text": "unsupported_image",
    "half": "damaged_image",
    "absent": "photo_not_found",
    "elsewhere": "invalid_s3_key",
    "url": "invalid_s3_key",
}


@pytest.fixture
def client(running: Running) -> Iterator[httpx.Client]:
    headers = {"X-API-Key": running.api_key}
    with httpx.Client(base_url=f"{running.http}/api/v1", headers=headers, trust_env=False, timeout=300) as opened:
        yield opened


@pytest.fixture
def guide(running: Running, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Pixora's client of this system."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    return pixora(f"{running.http}/api/v1", running.api_key)


@pytest.fixture
def folder(running: Running) -> Path:
    """A folder of the photo store; its name is a prefix of keys."""
    made = running.photos / new_session("photos")
    made.mkdir()
    return made


def stock(folder: Path, **pictures: bytes) -> dict[str, str]:
    """Put pictures into the photo store; name to key."""
    for name, data in pictures.items():
        (folder / name).write_bytes(data)
    return {name: f"{folder.name}/{name}" for name in pictures}


def small_jpeg(seed: int) -> bytes:
    """The astronaut at a quarter of the size; another file for each seed."""
    decoded = cv2.imdecode(np.frombuffer(astronaut_jpeg(), np.uint8), cv2.IMREAD_COLOR)
    assert decoded is not None
    pixels = cv2.resize(decoded, (256, 256))
    pixels[:8, :8] = seed
    return bytes(cv2.imencode(".jpg", pixels)[1])


def test_the_guides_whole_workflow_word_for_word(guide: ModuleType, folder: Path) -> None:
    facepass = guide.FacePassClient(guide.FACEPASS_API_URL, guide.FACEPASS_API_KEY)
    session = new_session("guide")
    keys = stock(folder, me=astronaut_jpeg(), group=group_jpeg(), cup=coffee_png())

    result = facepass.index_photo(photo_id="me", session_id=session, s3_key=keys["me"])
    assert result["indexed"] is True
    assert result["photo_id"] == "me"
    assert 0.5 < result["confidence"] <= 1
    assert result["faces_detected"] == 1
    again = facepass.index_photo(photo_id="me", session_id=session, s3_key=keys["me"])
    assert again == result

    result = guide.safe_index_batch(session, [{"photo_id": name, "s3_key": key} for name, key in keys.items()])
    assert (result["indexed"], result["failed"], result["no_face"], result["pending"]) == (2, 0, 1, 0)
    assert result["errors"] == []

    status = facepass.get_session_status(session)
    assert status["indexed"] is True
    assert (status["photo_count"], status["face_count"], status["session_id"]) == (2, 7, session)
    assert status["revision"] == result["revision"]

    results = facepass.search_faces(session_id=session, selfie_data=astronaut_jpeg(), threshold=0.7)
    assert [match["photo_id"] for match in results["matches"]] == ["me"]
    assert results["total_matches"] == 1
    assert results["matches"][0]["similarity"] >= 0.93

    deleted = facepass.delete_session(session)
    assert deleted["deleted"] is True
    assert deleted["embeddings_removed"] == 7
    with pytest.raises(requests.HTTPError) as caught:
        facepass.search_faces(session_id=session, selfie_data=astronaut_jpeg())
    assert caught.value.response.status_code == 404
    assert facepass.get_session_status(session)["photo_count"] == 0


def test_pixoras_integer_ids_and_its_large_sessions(guide: ModuleType, folder: Path) -> None:
    """The guide's batches of 200, with the ids that its tables have; counts add up over all of them."""
    session = int(time.time_ns())
    keys = stock(folder, me=small_jpeg(0), text=b"no picture")
    photos = [{"photo_id": number, "s3_key": keys["me"]} for number in range(3)]
    photos += [{"photo_id": 3, "s3_key": keys["text"]}]

    assert guide.index_large_session(session, photos) == {"indexed": 3, "failed": 1, "total": 4}
    facepass = guide.FacePassClient(guide.FACEPASS_API_URL, guide.FACEPASS_API_KEY)
    assert facepass.index_photo(photo_id=1, session_id=session, s3_key=keys["me"])["photo_id"] == "1"
    results = facepass.search_faces(session_id=session, selfie_data=small_jpeg(0))
    assert {match["photo_id"] for match in results["matches"]} == {"0", "1", "2"}
    assert facepass.get_session_status(session)["session_id"] == str(session)
    assert facepass.delete_session(session)["embeddings_removed"] == 3


def test_a_batch_of_120_photos_with_five_that_fail(client: httpx.Client, folder: Path) -> None:
    session = new_session("batch")
    keys = stock(folder, cup=coffee_png(), text=b"no picture", half=astronaut_jpeg()[:9000])
    keys |= {"absent": f"{folder.name}/absent.jpg", "elsewhere": "../x.jpg", "url": "s3://other/x.jpg"}
    keys |= stock(folder, **{f"photo-{number}": small_jpeg(number) for number in range(114)})
    photos = [{"photo_id": name, "s3_key": key} for name, key in keys.items()]
    assert len(photos) == 120

    answer = client.post("/index/batch", json={"session_id": session, "photos": photos})
    assert answer.status_code == 200, answer.text
    result = answer.json()
    assert (result["indexed"], result["failed"], result["no_face"], result["pending"]) == (114, 5, 1, 0)
    assert {error["photo_id"]: error["code"] for error in result["errors"]} == FAILING
    assert all(error["message"] for error in result["errors"])
    status = client.get(f"/search/status/{session}").json()
    assert (status["photo_count"], status["pending"], status["revision"]) == (114, 0, result["revision"])

    # again: what is settled is answered from the ledger, what failed is tried again
    keys |= stock(folder, text=small_jpeg(200))
    photos = [{"photo_id": name, "s3_key": key} for name, key in keys.items()]
    again = client.post("/index/batch", json={"session_id": session, "photos": photos}).json()
    assert (again["indexed"], again["failed"], again["no_face"]) == (115, 4, 1)


def test_an_uploaded_photo_is_found_and_leaves_no_object_when_it_is_deleted(
    running: Running, client: httpx.Client
) -> None:
    session = new_session("upload")
    for photo_id in ("one", "two", "gone"):
        form = {"session_id": session, "photo_id": photo_id}
        answer = client.post("/index", data=form, files={"file": astronaut_jpeg()})
        assert answer.status_code == 200, answer.text
        assert answer.json()["photo_id"] == photo_id
    assert found(running.search(session, astronaut_jpeg())) == {"one", "two", "gone"}
    assert len(objects_of(running, session)) == 3

    # a newer upload takes the older one's place
    form = {"session_id": session, "photo_id": "two"}
    assert client.post("/index", data=form, files={"image": group_jpeg()}).json()["faces_detected"] == 6
    wait_until(lambda: len(objects_of(running, session)) == 3)

    receipt = client.delete(f"/index/{session}/photos/gone").json()
    assert receipt["deleted"] is True
    assert (receipt["embeddings_removed"], receipt["photos_removed"]) == (1, 1)
    assert receipt["uploads_pending"] == 0
    assert len(objects_of(running, session)) == 2
    assert found(running.search(session, astronaut_jpeg())) == {"one"}

    receipt = client.delete(f"/index/{session}").json()
    assert (receipt["embeddings_removed"], receipt["photos_removed"]) == (7, 2)
    assert (receipt["uploads_pending"], objects_of(running, session)) == (0, set())


def objects_of(running: Running, session: str) -> set[str]:
    """Keys of the session's uploads; each is a file of the photo store exactly as long as it has a row."""
    with psycopg.connect(running.database) as connection:
        rows = connection.execute("SELECT s3_key FROM uploads WHERE session_id = %s", [session]).fetchall()
    keys = {key for (key,) in rows}
    assert {key for key in keys if (running.photos / key).is_file()} == keys
    return keys


def wait_until(condition: Any, *, seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_a_photo_without_a_face_and_one_that_is_none(client: httpx.Client, folder: Path) -> None:
    session = new_session("codes")
    keys = stock(folder, cup=coffee_png(), text=b"no picture")
    expected = {"cup": (400, "no_face"), "text": (415, "unsupported_image")}
    for name, (status, code) in expected.items():
        answer = client.post("/index", json={"photo_id": name, "session_id": session, "s3_key": keys[name]})
        assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    absent = {"photo_id": "absent", "session_id": session, "s3_key": f"{folder.name}/absent.jpg"}
    answer = client.post("/index", json=absent)
    assert (answer.status_code, answer.json()["code"]) == (422, "photo_not_found")

    # the photo is there now: what failed before is tried again, and succeeds
    stock(folder, **{"absent.jpg": astronaut_jpeg()})
    assert client.post("/index", json=absent).json()["indexed"] is True


def test_deleting_what_is_unknown_leaves_a_fence(running: Running, client: httpx.Client, folder: Path) -> None:
    session = new_session("unknown")
    begun = datetime.now(UTC)
    receipt = client.delete(f"/index/{session}").json()
    assert (receipt["deleted"], receipt["embeddings_removed"], receipt["photos_removed"]) == (True, 0, 0)
    assert receipt["photo_id"] is None
    # an event from before the call, delivered late, is covered by it
    keys = stock(folder, me=small_jpeg(0))
    late = {"photo_id": "late", "session_id": session, "s3_key": keys["me"], "occurred_at": begun.isoformat()}
    running.publish("photo-indexed", [("late", late)])
    assert client.post("/index", json={"photo_id": "new", "session_id": session, "s3_key": keys["me"]}).is_success
    assert found(running.search(session, small_jpeg(0))) == {"new"}


def test_a_deletion_covers_a_producer_whose_clock_runs_ahead(
    running: Running, client: httpx.Client, folder: Path
) -> None:
    session, ahead = new_session("ahead"), datetime.now(UTC) + timedelta(minutes=3)
    keys = stock(folder, me=small_jpeg(0))
    photo = {"photo_id": "p", "session_id": session, "s3_key": keys["me"], "occurred_at": ahead.isoformat()}
    running.publish("photo-indexed", [("p", photo)])
    running.wait_until_settled(session, 1)
    receipt = client.delete(f"/index/{session}/photos/p").json()
    assert receipt["embeddings_removed"] == 1
    assert datetime.fromisoformat(receipt["fence"]) == ahead
    assert running.status(session)["photo_count"] == 0
    # the clock of this machine is behind the fence now
    answer = client.post("/index", json={"photo_id": "p", "session_id": session, "s3_key": keys["me"]})
    assert (answer.status_code, answer.json()["code"]) == (409, "fenced")


def test_the_progress_of_a_batch_as_events(client: httpx.Client, folder: Path) -> None:
    session = new_session("events")
    keys = stock(folder, **{f"photo-{number}": small_jpeg(number) for number in range(6)}, cup=coffee_png())
    photos = [{"photo_id": name, "s3_key": key} for name, key in keys.items()]
    body = {"session_id": session, "photos": photos}
    with client.stream("POST", "/index/batch", json=body, headers={"Accept": "text/event-stream"}) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        blocks = "".join(answer.iter_text()).split("\n\n")
    assert blocks.pop() == ""
    events = [block.split("\n") for block in blocks if not block.startswith(":")]
    assert all(len(event) == 2 for event in events)
    names = [event[0] for event in events]
    assert names == ["event: progress"] * (len(events) - 1) + ["event: result"]
    counts = [json.loads(event[1].removeprefix("data: ")) for event in events]
    assert all(sum(step.values()) == 7 for step in counts[:-1])
    assert [step["pending"] for step in counts[:-1]] == sorted((s["pending"] for s in counts[:-1]), reverse=True)
    assert counts[-2]["pending"] == 0
    assert (counts[-1]["indexed"], counts[-1]["no_face"], counts[-1]["failed"]) == (6, 1, 0)


def test_many_calls_for_the_same_photo_at_once(running: Running, client: httpx.Client, folder: Path) -> None:
    session = new_session("same")
    keys = stock(folder, me=small_jpeg(0))
    body = {"photo_id": "p", "session_id": session, "s3_key": keys["me"]}
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda _: client.post("/index", json=body), range(8)))
    assert [answer.status_code for answer in answers] == [200] * 8
    assert {answer.json()["faces_detected"] for answer in answers} == {1}
    assert running.status(session)["face_count"] == 1


def test_a_session_is_deleted_while_a_batch_waits(client: httpx.Client, folder: Path) -> None:
    """Whatever comes first, each photo has an outcome, and what was fenced is said to be."""
    session = new_session("race")
    keys = stock(folder, **{f"photo-{number}": small_jpeg(number) for number in range(40)})
    photos = [{"photo_id": name, "s3_key": key} for name, key in keys.items()]
    with ThreadPoolExecutor(1) as threads:
        batch = threads.submit(client.post, "/index/batch", json={"session_id": session, "photos": photos})
        wait_until(lambda: client.get(f"/search/status/{session}").json()["revision"] > 0)
        receipt = client.delete(f"/index/{session}").json()
        result = batch.result().json()
    assert receipt["deleted"] is True
    assert result["indexed"] + result["failed"] == 40
    assert {error["code"] for error in result["errors"]} <= {"fenced"}
    assert client.get(f"/search/status/{session}").json()["photo_count"] == 0
