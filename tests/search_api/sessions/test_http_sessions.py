"""The routes about one session: what it is, whether guests may use it, and its photos."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any
from urllib.parse import quote

import pytest
from support.samples import astronaut_png, coffee_png, group_jpeg
from support.search_stack import SearchStack, event, open_search_stack

from facepass.embedding import FaceEngine
from facepass.schemas.callers import Scope
from facepass.schemas.errors import ErrorCode
from facepass.schemas.faces import Box, LeftOutFace, LeftOutReason, PhotoFaces
from facepass.schemas.http.session_bodies import FacepassStatus, PhotoList, SessionBody, SessionValidation
from facepass.schemas.ids import PhotoId, SessionId
from facepass.schemas.ledger import PhotoState
from facepass.schemas.photo_events import PhotoOutcome
from facepass.schemas.settings import AccessSettings, DatabaseSettings
from facepass.storage.callers.api_keys import create_key
from facepass.storage.writes import delete_photo, delete_session, save_photos

KEY = "a-key-of-the-tests-with-every-scope"
API = "/api/v1/sessions"


@pytest.fixture
async def stack(database_settings: DatabaseSettings, engine: FaceEngine) -> AsyncIterator[SearchStack]:
    async with open_search_stack(database_settings, engine, access=AccessSettings(api_keys=KEY)) as opened:
        yield opened


@pytest.fixture
async def refusing(database_settings: DatabaseSettings, engine: FaceEngine) -> AsyncIterator[SearchStack]:
    access = AccessSettings(api_keys=KEY, unannounced="refuse")
    async with open_search_stack(database_settings, engine, access=access) as opened:
        yield opened


async def get(stack: SearchStack, path: str, **more: Any) -> tuple[int, dict[str, Any]]:
    response = await stack.client.get(f"{API}/{path}", **more)
    return response.status_code, response.json()


async def photos_of(stack: SearchStack, session_id: str, **query: Any) -> PhotoList:
    status, body = await get(
        stack, f"{quote(session_id, safe='')}/photos", params=query, headers={"X-API-Key": KEY}
    )
    assert status == 200, body
    return PhotoList.model_validate(body)


async def save(stack: SearchStack, *outcomes: PhotoOutcome) -> None:
    await save_photos(stack.parts.store, list(outcomes), retry_hours=24)


async def delete(stack: SearchStack, session_id: str) -> None:
    store = stack.parts.store
    await delete_session(store, SessionId(session_id), datetime.now(UTC))


# ---- what a session is, and whether guests may use it


async def test_an_announced_session_is_described(stack: SearchStack) -> None:
    await stack.announce("4711", name="Anna & Boris <3", studio_id=17)
    await stack.index("4711", {"me": astronaut_png(), "others": group_jpeg(), "cup": coffee_png()})
    await stack.register("4711", "later")
    status, session = await get(stack, "4711")
    assert SessionBody.model_validate(session).last_indexed is not None
    assert (status, session) == (
        200,
        {
            "id": "4711",
            "name": "Anna & Boris <3",
            "studio_id": "17",
            "facepass_enabled": True,
            "photo_count": 2,
            "face_count": 7,
            "last_indexed": session["last_indexed"],
            "revision": 1,
        },
    )
    validation = {"valid": True, "error": None, "session": session}
    assert await get(stack, "validate/4711") == (200, validation)
    facepass = {"facepass_enabled": True, "indexed": True, "photo_count": 2, "pending": 1}
    assert await get(stack, "4711/facepass-status") == (200, facepass)


async def seen(stack: SearchStack, session_id: str) -> list[int | str]:
    """The session through every route at once: statuses, and the code where there is one."""
    info, body = await get(stack, session_id)
    validate, validation = await get(stack, f"validate/{session_id}")
    facepass, told = await get(stack, f"{session_id}/facepass-status")
    search = await stack.search(session_id, astronaut_png())
    valid = SessionValidation.model_validate(validation)
    assert valid.valid == (validate == 200) == (valid.session is not None) == (valid.error is None)
    if facepass == 200:
        assert FacepassStatus.model_validate(told).facepass_enabled == (info == 200)
    if info != 200:
        assert search.json()["code"] == body["code"]
        assert valid.error == body["message"]
    return [info, validate, facepass, search.status_code, body.get("code", "")]


ALLOWED = [200, 200, 200, 200, ""]
OFF = [403, 403, 200, 403, "facepass_disabled"]
UNANNOUNCED = [403, 403, 200, 403, "session_unannounced"]
UNKNOWN = [404, 404, 404, 404, "session_not_found"]


async def test_every_kind_of_session_through_every_route(stack: SearchStack) -> None:
    await kinds_of_sessions(stack, unannounced=ALLOWED)


async def test_unannounced_sessions_are_refused_where_the_operator_says_so(refusing: SearchStack) -> None:
    await kinds_of_sessions(refusing, unannounced=UNANNOUNCED)


async def kinds_of_sessions(stack: SearchStack, *, unannounced: list[int | str]) -> None:
    assert await seen(stack, "never") == UNKNOWN
    await stack.announce("empty")
    assert await seen(stack, "empty") == ALLOWED
    await stack.announce("off", facepass_enabled=False)
    await stack.index("off", {"me": astronaut_png()})
    assert await seen(stack, "off") == OFF
    await stack.index("silent", {"me": astronaut_png()})
    assert await seen(stack, "silent") == unannounced
    await stack.announce("gone", name="Secret")
    await stack.index("gone", {"me": astronaut_png()})
    await delete(stack, "gone")
    assert await seen(stack, "gone") == UNKNOWN, "only its fence is left"
    await stack.index("gone", {"again": astronaut_png()})
    assert await seen(stack, "gone") == unannounced, "its announcement went with the deletion"
    if unannounced is ALLOWED:
        assert (await get(stack, "gone"))[1]["name"] is None
    await stack.announce("gone", name="Anew")
    assert await seen(stack, "gone") == ALLOWED
    await stack.register("pieces", "p")
    await delete_photo(stack.parts.store, SessionId("pieces"), PhotoId("p"), datetime.now(UTC))
    assert await seen(stack, "pieces") == UNKNOWN, "each of its photos was deleted"


async def test_a_session_is_switched_off_and_on_while_it_is_held(stack: SearchStack) -> None:
    await stack.announce("s")
    await stack.index("s", {"me": astronaut_png()})
    for enabled, expected in [(True, ALLOWED), (False, OFF), (True, ALLOWED), (False, OFF), (True, ALLOWED)]:
        await stack.announce("s", facepass_enabled=enabled)
        await stack.parts.replica.poll()
        assert await seen(stack, "s") == expected
    assert (await stack.search("s", astronaut_png())).json()["total_matches"] == 1


async def test_where_tokens_are_required_these_routes_need_one_or_a_key(
    database_settings: DatabaseSettings, engine: FaceEngine
) -> None:
    access = AccessSettings(api_keys=KEY, session_tokens="required")
    async with open_search_stack(database_settings, engine, access=access) as stack:
        await stack.announce("s")
        index_only = (await create_key(stack.parts.store.database, "uploader", [Scope.INDEX])).key
        paths = ["s", "validate/s", "s/facepass-status", "validate/unknown", "../search/status/s"]
        for path in paths:
            url = f"/api/v1/{path[3:]}" if path.startswith("../") else f"{API}/{path}"
            refused = await stack.client.get(url)
            assert (refused.status_code, refused.json()["code"]) == (401, "token_required"), path
            weak = await stack.client.get(url, headers={"X-API-Key": index_only})
            assert (weak.status_code, weak.json()["code"]) == (403, "scope_required"), path
            other = await stack.client.get(url, headers=await stack.token("other"))
            assert (other.status_code, other.json()["code"]) == (401, "token_required"), path
            for headers in ({"X-API-Key": KEY}, await stack.token("unknown" if "unknown" in path else "s")):
                allowed = await stack.client.get(url, headers=headers)
                assert allowed.status_code == (404 if "unknown" in path else 200), path


# ---- photos


def failed(photo_id: str, code: ErrorCode, state: PhotoState = PhotoState.FAILED) -> PhotoOutcome:
    return PhotoOutcome(photo=event("s", photo_id), state=state, error=code)


def left_out(photo_id: str) -> PhotoOutcome:
    face = LeftOutFace(
        box=Box(x=1.5, y=2.0, width=9.0, height=11.5), confidence=0.75, reason=LeftOutReason.TOO_SMALL
    )
    found = PhotoFaces(width=640, height=480, faces=(), left_out=(face,))
    return PhotoOutcome(photo=event("s", photo_id), state=PhotoState.FILTERED, found=found)


async def every_state(stack: SearchStack) -> None:
    await stack.index("s", {"indexed": astronaut_png(), "no face": coffee_png()})
    await save(
        stack,
        failed("failed", ErrorCode.PHOTO_NOT_FOUND),
        failed("again", ErrorCode.STORE_UNAVAILABLE, PhotoState.PENDING),
        left_out("filtered"),
    )
    await stack.register("s", "new", "deleted")
    await delete_photo(stack.parts.store, SessionId("s"), PhotoId("deleted"), datetime.now(UTC))


async def test_the_photos_say_what_became_of_them_and_why(stack: SearchStack) -> None:
    await every_state(stack)
    listed = await photos_of(stack, "s")
    assert listed.next_cursor is None
    photos = {photo.photo_id: photo for photo in listed.photos}
    assert {photo_id: str(photo.state) for photo_id, photo in photos.items()} == {
        "indexed": "indexed",
        "no face": "no_face",
        "failed": "failed",
        "again": "pending",
        "filtered": "filtered",
        "new": "pending",
        "deleted": "deleted",
    }
    error = photos["failed"].error
    assert error is not None
    assert (error.code, "upload the photo" in error.message) == ("photo_not_found", True)
    assert (photos["failed"].attempts, photos["failed"].next_attempt_at) == (1, None)
    again = photos["again"]
    assert again.error is not None
    assert (again.error.code, again.attempts) == ("store_unavailable", 1)
    assert again.next_attempt_at is not None
    assert again.next_attempt_at < datetime.now(UTC) + timedelta(minutes=30)
    (face,) = photos["filtered"].left_out
    assert (str(face.reason), face.confidence, face.box.height) == ("too_small", 0.75, 11.5)
    assert (photos["filtered"].faces, photos["filtered"].faces_detected) == (0, 1)
    assert (photos["indexed"].faces, photos["indexed"].s3_key) == (1, "photos/indexed.jpg")
    assert (photos["deleted"].s3_key, photos["deleted"].error) == (None, None)
    assert all(photo.occurred_at for photo in photos.values())


async def test_paging_gives_every_photo_once_in_the_order_of_bytes(stack: SearchStack) -> None:
    ids = ["a", "B", "a/b", "a b", "é", "я", "\U0001f48d", "\uffee", "-", "10", "9", "x" * 255]
    await stack.register("s", *ids)
    expected = sorted(ids, key=str.encode)
    for limit in (1, 3, len(ids) - 1, len(ids), 1000):
        found: list[str] = []
        query: dict[str, Any] = {"limit": limit}
        while True:
            page = await photos_of(stack, "s", **query)
            assert len(page.photos) <= limit
            found += [photo.photo_id for photo in page.photos]
            if page.next_cursor is None:
                break
            query["cursor"] = page.next_cursor
        assert found == expected


async def test_states_are_filtered_and_paged_together(stack: SearchStack) -> None:
    await every_state(stack)

    async def listed(**query: Any) -> list[str]:
        return [photo.photo_id for photo in (await photos_of(stack, "s", **query)).photos]

    assert await listed(state="failed") == ["failed"]
    assert await listed(state=["failed", "pending"]) == ["again", "failed", "new"]
    assert await listed(state=["failed", "pending"], cursor="again") == ["failed", "new"]
    assert await listed(state="deleted") == ["deleted"]
    first = await photos_of(stack, "s", state=["failed", "pending"], limit=2)
    assert ([photo.photo_id for photo in first.photos], first.next_cursor) == (["again", "failed"], "failed")


async def test_operators_see_the_photos_of_any_session_that_was_ever_heard_of(stack: SearchStack) -> None:
    status, body = await get(stack, "never/photos", headers={"X-API-Key": KEY})
    assert (status, body["code"]) == (404, "session_not_found")
    await stack.announce("off", facepass_enabled=False)
    assert (await photos_of(stack, "off")).photos == []
    await stack.register("gone", "p")
    await delete(stack, "gone")
    assert [(photo.photo_id, str(photo.state)) for photo in (await photos_of(stack, "gone")).photos] == [
        ("p", "deleted")
    ]


async def test_the_list_of_photos_needs_a_key_that_may_read(stack: SearchStack) -> None:
    await stack.register("s", "p")
    index_only = (await create_key(stack.parts.store.database, "uploader", [Scope.INDEX])).key
    reader = (await create_key(stack.parts.store.database, "support", [Scope.READ])).key
    answers = {None: (401, "key_required"), index_only: (403, "scope_required"), reader: (200, None)}
    for key, (expected, code) in answers.items():
        status, body = await get(stack, "s/photos", headers={"X-API-Key": key} if key else {})
        assert (status, body.get("code")) == (expected, code)


# ---- what is not valid


@pytest.mark.property(14)
async def test_property_14_an_invalid_parameter_of_a_session_is_refused_and_nothing_written(
    stack: SearchStack,
) -> None:
    await stack.register("s", "p")
    wrong = [
        *product(["limit"], ["0", "-1", "1001", "1.5", "", "x", "9" * 40, "NaN"]),
        *product(["state"], ["", "INDEXED", "failed,pending", "'; --", "\x00"]),
        *product(["cursor"], ["", "\x00", "я" * 256]),
    ]
    before = await rows(stack)
    for name, value in wrong:
        status, body = await get(stack, "s/photos", params={name: value}, headers={"X-API-Key": KEY})
        code = "invalid_parameter"
        assert (status, body["code"], body["details"]) == (422, code, {"field": name}), (name, value)
        assert len(value) < 5 or value not in body["message"]
    for path in ["{}", "validate/{}", "{}/facepass-status", "{}/photos"]:
        for session_id in ["%00", "a%00", "%FF", "%ED%A0%80", "x" * 256]:
            status, body = await get(stack, path.format(session_id), headers={"X-API-Key": KEY})
            assert (status, body["code"], body["details"]) == (422, "invalid_id", {"field": "session_id"}), path
    assert await rows(stack) == before


async def rows(stack: SearchStack) -> list[Any]:
    async with stack.parts.store.database.transaction() as connection:
        tables = "sessions", "photos", "photo_results", "session_generations", "legacy_events"
        return [
            await (await connection.execute(f"SELECT * FROM {table} ORDER BY 1, 2")).fetchall() for table in tables
        ]


HOSTILE = [
    "'; DROP TABLE sessions; --",
    "a/facepass-status",
    "validate/x",
    "photos",
    "interface",
    "../../etc/passwd",
    "a%2Fb?d#e&f=g+h",
    "\x01\x1b[31m\x7f",
    "line\r\nbreak: x",
    "\u202ecod\u2066.exe",
    "свадьба 💍 e\u0301",
    "<script>alert(1)</script>",
    "я" * 255,
]


@pytest.mark.property(15)
async def test_property_15_hostile_ids_of_sessions_and_photos_are_data(stack: SearchStack) -> None:
    for text in HOSTILE:
        await stack.announce(text, name=text, studio_id=text)
        await stack.register(text, text, "other")
    for text in HOSTILE:
        encoded = quote(text, safe="")
        status, session = await get(stack, encoded)
        assert (status, session["id"], session["name"], session["studio_id"]) == (200, text, text, text)
        assert (await get(stack, f"validate/{encoded}"))[1]["session"] == session
        assert (await get(stack, f"{encoded}/facepass-status"))[1]["pending"] == 2
        listed = await photos_of(stack, text)
        assert {photo.photo_id for photo in listed.photos} == {text, "other"}
        after = await photos_of(stack, text, cursor=text)
        assert text not in {photo.photo_id for photo in after.photos}
