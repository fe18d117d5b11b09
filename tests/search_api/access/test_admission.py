"""Which sessions guests may use, decided in memory while the session's shard is held."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest
from support.samples import astronaut_png
from support.search_stack import SearchStack, open_search_stack

from facepass.embedding import FaceEngine
from facepass.schemas.ids import PhotoId, SessionId
from facepass.schemas.settings import AccessSettings, DatabaseSettings
from facepass.search_api.access.guard import Guard
from facepass.search_api.access.guest_door import GuestDoor
from facepass.storage.writes import delete_photo, delete_session


@pytest.fixture(params=["allow", "refuse"])
async def stack(
    request: pytest.FixtureRequest, database_settings: DatabaseSettings, engine: FaceEngine
) -> AsyncIterator[SearchStack]:
    access = AccessSettings(unannounced=request.param)
    async with open_search_stack(database_settings, engine, access=access) as opened:
        yield opened


async def verdict(stack: SearchStack, session_id: str = "s") -> str:
    parts = stack.parts
    door = GuestDoor(
        guard=Guard(parts.access, parts.store.database),
        store=parts.store,
        shards=parts.shards,
        unannounced=parts.access.unannounced,
    )
    refused = await door.refusal(SessionId(session_id))
    return "admitted" if refused is None else str(refused.code)


async def load(stack: SearchStack) -> None:
    """What a search does next."""
    await stack.parts.shards.prepare(SessionId("s"))


async def test_what_is_known_decides(stack: SearchStack) -> None:
    unannounced = "admitted" if stack.parts.access.unannounced == "allow" else "session_unannounced"
    parts, session = stack.parts, SessionId("s")
    assert await verdict(stack) == "session_not_found"
    await stack.announce("s", name="Wedding")
    assert await verdict(stack) == "admitted", "announced, and no photo yet"
    await stack.announce("s", facepass_enabled=False)
    assert await verdict(stack) == "facepass_disabled"
    await stack.register("s", "p")
    assert await verdict(stack) == "facepass_disabled", "also with photos"
    await delete_session(parts.store, session, datetime.now(UTC))
    assert await verdict(stack) == "session_not_found", "only its fence is left"
    await stack.register("s", "p")
    assert await verdict(stack) == unannounced, "the announcement went with the deletion"
    await delete_photo(parts.store, session, PhotoId("p"), datetime.now(UTC))
    assert await verdict(stack) == "session_not_found", "nothing but deleted photos"
    await stack.announce("s")
    assert await verdict(stack) == "admitted"


async def test_a_held_session_follows_its_switch_with_a_poll_and_asks_no_database(stack: SearchStack) -> None:
    await stack.announce("s")
    await stack.index("s", {"me": astronaut_png()})
    await load(stack)
    for enabled, expected in [(True, "admitted"), (False, "facepass_disabled"), (True, "admitted")]:
        await stack.announce("s", facepass_enabled=enabled)
        await stack.catch_up()
        asked = stack.parts.store.database.pool.get_stats()["requests_num"]
        assert await verdict(stack) == expected
        assert stack.parts.store.database.pool.get_stats()["requests_num"] == asked


async def test_a_session_that_is_not_held_is_read(stack: SearchStack) -> None:
    await stack.index("s", {"me": astronaut_png()})
    for enabled, expected in [(False, "facepass_disabled"), (True, "admitted")]:
        await stack.announce("s", facepass_enabled=enabled)
        assert await verdict(stack) == expected
    assert stack.parts.shards.held() == {}
