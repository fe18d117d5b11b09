"""Property 21: a search never returns a photo of another session, for every interleaving."""

import asyncio
from collections.abc import AsyncIterator

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.ledger import Storage, at, open_storage, random_vector
from support.shard_rows import index

from facepass.schemas.errors import ErrorCode, FacePassError
from facepass.schemas.faces import Embedding
from facepass.schemas.ids import PhotoId, SessionId
from facepass.schemas.settings import DatabaseSettings, LeaseSettings, ShardSettings
from facepass.storage.shards.replica import Replica
from facepass.storage.shards.shards import Shards
from facepass.storage.writes import delete_photo, delete_session

SESSIONS = ["a", "b", "A", "a ", "ab"]
"""Ids that a careless comparison, prefix or cache key would mix."""

STEP = st.tuples(
    st.sampled_from(["index", "delete photo", "delete session", "search", "search", "search", "poll", "evict"]),
    st.sampled_from(SESSIONS),
    st.integers(0, 2),
)
_examples = iter(range(10**9))


@pytest.fixture
async def storage(database_settings: DatabaseSettings) -> AsyncIterator[Storage]:
    async with open_storage(database_settings) as opened:
        yield opened


class _World:
    """Each session shows one person; one photo id is the same in all of them."""

    def __init__(self, storage: Storage, example: int) -> None:
        self._storage = storage
        self._example = example
        # room for two shards: searches load and drop them all the time
        tiny = ShardSettings.model_construct(shard_memory_mb=0.02)
        self.shards = Shards(storage.store, tiny)
        self.replica = Replica(storage.store, self.shards, LeaseSettings())

    def session(self, name: str) -> SessionId:
        return SessionId(f"{name}{self._example}")

    def photo(self, name: str, number: int) -> PhotoId:
        return PhotoId(f"{number} of {self.session(name)}" if number else "shared")

    async def step(self, kind: str, name: str, number: int, time: int) -> None:
        store, session = self._storage.store, self.session(name)
        photo = self.photo(name, number)
        if kind == "index":
            await index(self._storage, session, photo, np.stack([_person(name)]), seconds=time)
        elif kind == "delete photo":
            self.shards.hint((await delete_photo(store, session, photo, at(time))).update)
        elif kind == "delete session":
            self.shards.hint((await delete_session(store, session, at(time))).update)
        elif kind == "search":
            await self._search(name, _person(SESSIONS[SESSIONS.index(name) - 1 - number]))
        elif kind == "poll":
            await self.replica.poll()
        elif (held := self.shards._cache.get(session)) and held.shard is not None:
            self.shards._cache.drop(held)

    async def _search(self, name: str, query: Embedding) -> None:
        """With the person of another session: any face of that one would be the best match of its photo."""
        try:
            answer = await self.shards.search(self.session(name), query, threshold=0.0, limit=50)
        except FacePassError as error:
            assert error.code in {ErrorCode.SESSION_NOT_FOUND, ErrorCode.OVERLOADED}
        else:
            own = {self.photo(name, number) for number in range(3)}
            assert {match.photo_id for match in answer.matches} <= own
            for match in answer.matches:
                assert match.cosine == pytest.approx(float(query @ _person(name)), abs=2e-3)
            assert answer.total == len(answer.matches) <= answer.photos <= 3


def _person(session: str) -> Embedding:
    return random_vector(session)


@pytest.mark.property(21)
@given(st.lists(st.lists(STEP, min_size=1, max_size=6), max_size=8))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_property_21_no_photo_of_another_session(
    storage: Storage, rounds: list[list[tuple[str, str, int]]]
) -> None:
    """Each round's steps run at the same time."""
    world = _World(storage, next(_examples))
    await world.replica.register()
    for name in SESSIONS:
        await world.step("index", name, 0, 0)
    for time, together in enumerate(rounds, 1):
        await asyncio.gather(*(world.step(*step, time) for step in together))
    await asyncio.gather(*(world.step("search", name, 0, 0) for name in SESSIONS))
    await world.replica.close()
    await world.shards.close()
