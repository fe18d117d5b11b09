"""POST /sessions/{id}/explain: the same verdict as a search, and why."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from urllib.parse import quote

import httpx
import numpy as np
import pytest
from pydantic import SecretStr
from support.samples import astronaut_png, coffee_png, group_jpeg
from support.search_stack import SearchStack, beside, event, open_search_stack, outcome

from facepass.embedding import FaceEngine
from facepass.schemas.errors import ErrorCode
from facepass.schemas.faces import Box, LeftOutFace, LeftOutReason, PhotoFaces
from facepass.schemas.http.explain_bodies import Explanation
from facepass.schemas.ids import PhotoId, SessionId
from facepass.schemas.ledger import PhotoState
from facepass.schemas.photo_events import PhotoOutcome
from facepass.schemas.settings import AccessSettings, DatabaseSettings
from facepass.storage.writes import delete_photo, delete_session, save_photos

KEY = "explain-0123456789abcdef0123456789abcdef"


@pytest.fixture
async def stack(database_settings: DatabaseSettings, engine: FaceEngine) -> AsyncIterator[SearchStack]:
    access = AccessSettings(api_keys=SecretStr(KEY))
    async with open_search_stack(database_settings, engine, access=access) as opened:
        yield opened


async def ask(
    stack: SearchStack,
    photo_id: str,
    selfie: bytes,
    *,
    session_id: str = "s1",
    key: str | None = KEY,
    **fields: object,
) -> httpx.Response:
    return await stack.client.post(
        f"/api/v2/sessions/{quote(session_id, safe='')}/explain",
        files={"file": selfie},
        data={"photo_id": photo_id} | fields,
        headers={"X-API-Key": key} if key else {},
    )


async def explained(stack: SearchStack, photo_id: str, selfie: bytes, **fields: object) -> Explanation:
    response = await ask(stack, photo_id, selfie, **fields)
    assert response.status_code == 200, response.text
    return Explanation.model_validate(response.json())


async def save(stack: SearchStack, *outcomes: PhotoOutcome) -> None:
    await save_photos(stack.parts.store, outcomes, retry_hours=24)


async def test_the_verdict_is_that_of_a_search_at_every_threshold(stack: SearchStack) -> None:
    await stack.index("s1", {"me": astronaut_png(), "others": group_jpeg(), "both": _both()})
    everything = (await stack.search("s1", astronaut_png(), threshold=0)).json()["matches"]
    similarities = {match["photo_id"]: match["similarity"] for match in everything}
    for photo_id, similarity in similarities.items():
        for threshold in (0.0, similarity - 1e-4, min(similarity + 1e-4, 1.0), 0.7, 1.0):
            matches = (await stack.search("s1", astronaut_png(), threshold=threshold)).json()["matches"]
            told = await explained(stack, photo_id, astronaut_png(), threshold=threshold)
            assert told.matched is (photo_id in {match["photo_id"] for match in matches}), (photo_id, threshold)
            assert told.reason == ("match" if told.matched else "below_threshold")
            assert f"{told.photo.faces[0].similarity:.4f}" in told.message
            assert told.photo.faces[0].similarity == pytest.approx(similarity, abs=1e-6)


def _both() -> bytes:
    return beside((astronaut_png(), 1.0), (group_jpeg(), 1.0))


async def test_every_face_of_the_photo_is_shown_as_it_is_stored(stack: SearchStack, engine: FaceEngine) -> None:
    await stack.index("s1", {"both": _both()})
    stored = engine.analyse_photo(_both()).faces
    told = await explained(stack, "both", astronaut_png())
    assert len(told.photo.faces) == len(stored) == 7
    assert [face.matches for face in told.photo.faces] == [True] + [False] * 6
    selfie = engine.analyse_selfie(astronaut_png(), max_bytes=10**7, max_pixels=10**7).largest
    assert selfie is not None
    expected = {round(face.box.x, 2): float(face.embedding @ selfie.embedding) for face in stored}
    assert {round(face.box.x, 2): face.cosine for face in told.photo.faces} == pytest.approx(expected, abs=2e-3)
    assert all(face.quality.size > 30 and 0.5 < face.confidence <= 1 for face in told.photo.faces)
    assert (told.photo.state, told.photo.error, told.photo.revision) == ("indexed", None, 1)
    assert told.least_cosine == pytest.approx(engine.spec.operating_point)


async def test_the_selfies_faces_and_warnings_are_shown(stack: SearchStack) -> None:
    await stack.index("s1", {"me": astronaut_png()})
    told = await explained(stack, "me", beside((astronaut_png(), 2.0), (group_jpeg(), 1.0)))
    assert [face.searched for face in told.selfie.faces] == [True] + [False] * (len(told.selfie.faces) - 1)
    assert len(told.selfie.faces) > 2
    assert told.selfie.faces[0].box.width == max(face.box.width for face in told.selfie.faces)
    assert (told.selfie.faces[0].quality is None, told.selfie.faces[1].quality is None) == (False, True)
    assert [str(warning.code) for warning in told.selfie.warnings] == ["several_faces"]
    assert (told.selfie.width, told.selfie.height) == (2 * 512 + 1280, 2 * 512)


async def test_photos_without_faces_say_why(stack: SearchStack) -> None:
    await stack.index("s1", {"cup": coffee_png()})
    await stack.register("s1", "waiting")
    box = Box(x=1.0, y=2.0, width=30.0, height=40.0)
    poor = LeftOutFace(box=box, confidence=0.55, reason=LeftOutReason.BLURRED)
    await save(
        stack,
        outcome("s1", "poor", PhotoFaces(width=100, height=100, faces=(), left_out=(poor,))),
        PhotoOutcome(photo=event("s1", "broken"), state=PhotoState.FAILED, error=ErrorCode.DAMAGED_IMAGE),
    )
    told = {name: await explained(stack, name, astronaut_png()) for name in ("cup", "waiting", "poor", "broken")}
    assert {name: str(one.reason) for name, one in told.items()} == {
        "cup": "no_face",
        "waiting": "pending",
        "poor": "filtered",
        "broken": "failed",
    }
    assert not any(one.matched or one.photo.faces for one in told.values())
    (left_out,) = told["poor"].photo.left_out
    assert (left_out.reason, left_out.confidence) == (LeftOutReason.BLURRED, 0.55)
    error = told["broken"].photo.error
    assert error is not None
    assert (error.code, told["broken"].message) == ("damaged_image", error.message)
    assert told["waiting"].photo.next_attempt_at is not None


async def test_deleted_photos_and_sessions_show_their_fences(stack: SearchStack) -> None:
    await stack.index("s1", {"me": astronaut_png(), "kept": astronaut_png()})
    await stack.index("s2", {"me": astronaut_png()})
    now = datetime.now(UTC)
    parts = stack.parts
    await delete_photo(parts.store, SessionId("s1"), PhotoId("me"), now)
    await delete_session(parts.store, SessionId("s2"), now)
    told = await explained(stack, "me", astronaut_png())
    assert (told.matched, str(told.reason)) == (False, "deleted")
    assert (told.photo.deleted_at, told.photo.session_deleted_at, told.photo.faces) == (now, None, [])
    assert (await explained(stack, "kept", astronaut_png())).matched
    told = await explained(stack, "me", astronaut_png(), session_id="s2")
    assert (str(told.reason), told.photo.session_deleted_at) == ("deleted", now)


async def test_a_session_that_is_off_is_the_reason(stack: SearchStack) -> None:
    await stack.index("s1", {"me": astronaut_png()})
    await stack.announce("s1", facepass_enabled=False)
    told = await explained(stack, "me", astronaut_png())
    assert (told.matched, str(told.reason)) == (False, "facepass_disabled")
    assert told.photo.faces[0].matches


async def test_what_is_not_known_is_not_found(stack: SearchStack) -> None:
    await stack.index("s1", {"me": astronaut_png()})
    for session_id, photo_id, code in (("s1", "nothing", "photo_unknown"), ("s2", "me", "session_not_found")):
        response = await ask(stack, photo_id, astronaut_png(), session_id=session_id)
        assert (response.status_code, response.json()["code"]) == (404, code)


async def test_ids_of_any_kind_and_bad_fields(stack: SearchStack) -> None:
    await stack.index("a/b", {"c/d ?": astronaut_png()})
    assert (await explained(stack, "c/d ?", astronaut_png(), session_id="a/b")).matched
    for fields, code, name in (
        ({"photo_id": ""}, "invalid_id", "photo_id"),
        ({"photo_id": "x" * 256}, "invalid_id", "photo_id"),
        ({"photo_id": "me", "threshold": "2"}, "invalid_parameter", "threshold"),
    ):
        response = await stack.client.post(
            "/api/v1/sessions/s1/explain",
            files={"file": astronaut_png()},
            data=fields,
            headers={"X-API-Key": KEY},
        )
        assert (response.status_code, response.json()["code"]) == (422, code)
        assert response.json()["details"]["field"] == name


async def test_a_key_is_needed_and_one_selfie_with_a_face(stack: SearchStack) -> None:
    await stack.index("s1", {"me": astronaut_png()})
    response = await ask(stack, "me", astronaut_png(), key=None)
    assert (response.status_code, response.json()["code"]) == (401, "key_required")
    response = await ask(stack, "me", coffee_png())
    assert (response.status_code, response.json()["code"]) == (400, "no_face")
    two = await stack.client.post(
        "/api/v1/sessions/s1/explain",
        files=[("file", astronaut_png()), ("image", astronaut_png())],
        data={"photo_id": "me"},
        headers={"X-API-Key": KEY},
    )
    assert (two.status_code, two.json()["details"]) == (422, {"field": "file", "limit": 1})


async def test_no_vector_leaves(stack: SearchStack, engine: FaceEngine) -> None:
    await stack.index("s1", {"me": astronaut_png()})
    text = (await ask(stack, "me", astronaut_png())).text
    for vector in (
        engine.analyse_photo(astronaut_png()).faces[0].embedding,
        engine.analyse_photo(astronaut_png()).faces[0].embedding.astype(np.float16),
    ):
        assert not any(f"{abs(float(number)):.4f}"[1:] in text for number in vector[np.abs(vector) > 0.02][:20])
