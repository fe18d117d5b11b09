"""Sessions as Pixora announces them, switched off and on again, on the running system."""

import time
from collections.abc import Callable
from typing import Any

import httpx
from support.running import PATIENCE_SECONDS, Running
from support.samples import astronaut_jpeg


def until(ask: Callable[[], httpx.Response], status: int) -> httpx.Response:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while (response := ask()).status_code != status:
        assert time.monotonic() < deadline, response.text
        time.sleep(0.1)
    return response


def test_a_session_follows_its_announcements(running: Running) -> None:
    """The id is an integer of Pixora's, in the events and in the path."""
    number = time.time_ns() % 10**12
    (running.photos / f"{number}.jpg").write_bytes(astronaut_jpeg())

    def announce(**fields: Any) -> None:
        running.publish("session-updated", [(str(number), {"session_id": number, **fields})])

    with running.client() as client:

        def search() -> httpx.Response:
            files, data = {"file": astronaut_jpeg()}, {"session_id": str(number)}
            return client.post("/api/v1/search", files=files, data=data)

        def validate() -> httpx.Response:
            return client.get(f"/api/v1/sessions/validate/{number}")

        assert (search().status_code, validate().status_code) == (404, 404)
        announce(name="Wedding", studio_id=17, facepass_enabled=True)
        session = until(validate, 200).json()["session"]
        assert (session["id"], session["studio_id"], session["photo_count"]) == (str(number), "17", 0)
        assert search().json()["matches"] == []
        running.publish(
            "photo-indexed",
            [("1", {"photo_id": 1, "session_id": number, "s3_key": f"{number}.jpg"})],
        )
        running.wait_until_settled(str(number), 1)
        announce(facepass_enabled=False)
        assert until(search, 403).json()["code"] == "facepass_disabled"
        assert validate().status_code == 403
        assert client.get(f"/api/v1/sessions/{number}/facepass-status").json() == {
            "facepass_enabled": False,
            "indexed": True,
            "photo_count": 1,
            "pending": 0,
        }
        announce(name="Wedding", facepass_enabled=True)
        found = until(search, 200).json()
        assert [match["photo_id"] for match in found["matches"]] == ["1"]
