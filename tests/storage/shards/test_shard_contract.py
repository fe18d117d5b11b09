"""A shard answers what PostgreSQL answers, row for row: `embedding::vector <#> query::vector`, exactly."""

from collections.abc import AsyncIterator
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from support.ledger import SPEC, Storage, at, open_storage, random_vector
from support.shard_rows import ExactRow, exact_matches, index

from facepass.schemas.faces import GenerationSpec
from facepass.schemas.ids import PhotoId, SessionId
from facepass.schemas.settings import DatabaseSettings, LeaseSettings, ShardSettings
from facepass.schemas.similarity import cosine_from_similarity
from facepass.storage.shards.replica import Replica
from facepass.storage.shards.shard import Match
from facepass.storage.shards.shards import Shards
from facepass.storage.writes import delete_photo, delete_session

BAND = 1e-6
"""Scores may differ by this; a photo this near to the threshold may be in or out."""


@pytest.fixture
async def storage(database_settings: DatabaseSettings) -> AsyncIterator[Storage]:
    async with open_storage(database_settings) as opened:
        yield opened


def assert_same(found: list[Match], exact: list[ExactRow], least: float) -> None:
    """`exact` holds all photos of the session."""
    expected = {photo: (cosine, confidence, x) for photo, cosine, confidence, x in exact}
    photos = [match.photo_id for match in found]
    assert len(set(photos)) == len(photos)
    assert {photo for photo, row in expected.items() if row[0] >= least + BAND} <= set(photos)
    assert set(photos) <= {photo for photo, row in expected.items() if row[0] >= least - BAND}
    for match in found:
        cosine, confidence, x = expected[match.photo_id]
        assert match.cosine == pytest.approx(cosine, abs=BAND)
        assert (match.confidence, match.box.x) == (pytest.approx(confidence), x)
    for before, after in pairwise(found):
        assert (-before.cosine, before.photo_id) < (-after.cosine, after.photo_id)
        assert expected[before.photo_id][0] >= expected[after.photo_id][0] - BAND


PHOTOS = st.sampled_from(["a", "b", "é", "10", "9", "photo with a rather long id"])
FACES = st.lists(st.integers(0, 9), min_size=1, max_size=4)
STEP = st.one_of(
    st.tuples(st.just("index"), PHOTOS, FACES),
    st.tuples(st.just("delete"), PHOTOS),
    st.tuples(st.just("delete session")),
    st.tuples(st.just("compare"), st.integers(0, 9), st.sampled_from([0.0, 0.4, 0.7, 0.9, 1.0])),
)
_session_numbers = iter(range(10**9))


@given(steps=st.lists(STEP, max_size=12))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_a_shard_kept_current_answers_as_pgvector_does(
    storage: Storage, steps: list[tuple[str, PhotoId, list[int]]]
) -> None:
    """Whatever happened to the session: ties, faces shared by photos, re-indexing, deletions."""
    session = SessionId(f"session-{next(_session_numbers)}")
    shards = Shards(storage.store, ShardSettings())
    replica = Replica(storage.store, shards, LeaseSettings())
    store = storage.store
    await replica.register()
    await index(storage, session, "first", np.stack([random_vector(0)]))
    for second, step in enumerate([*steps, ("compare", 3, 0.0)], 1):
        if step[0] == "index":
            vectors = np.stack([random_vector(number) for number in step[2]])
            await index(storage, session, step[1], vectors, seconds=second)
        elif step[0] == "delete":
            await delete_photo(store, session, step[1], at(second))
        elif step[0] == "delete session":
            await delete_session(store, session, at(second))
            await index(storage, session, "after", np.stack([random_vector(second)]), seconds=second + 0.5)
        else:
            await replica.poll()
            await _compare(storage, shards, session, random_vector(step[1]), step[2])
    await replica.close()
    await shards.close()


async def _compare(
    storage: Storage, shards: Shards, session: SessionId, query: NDArray[np.float32], threshold: float
) -> None:
    answer = await shards.search(session, query, threshold=threshold, limit=1000)
    least = cosine_from_similarity(threshold, storage.generation.spec.operating_point)
    assert_same(list(answer.matches), await exact_matches(storage, session, query, 0.0), least)
    assert (answer.total, answer.behind) == (len(answer.matches), 0)


@pytest.mark.parametrize("size", [128, 512])
async def test_a_large_session(database_settings: DatabaseSettings, size: int) -> None:
    """More faces than one block of a load and than FAISS is asked for at first."""
    spec = GenerationSpec(pack="test", vector_size=size, operating_point=0.36, fingerprint=SPEC.fingerprint)
    generator = np.random.default_rng(size)
    people = generator.standard_normal((50, size)).astype(np.float32)
    async with open_storage(database_settings, spec) as storage:
        for photo in range(60):
            vectors = people[generator.integers(0, 50, 40)] + generator.standard_normal((40, size)) * 0.3
            vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
            await index(storage, "large", f"p{photo}", vectors.astype(np.float32))
        shards = Shards(storage.store, ShardSettings())
        for person in people[:5]:
            for threshold in (0.0, 0.6, 0.8):
                query = person / np.linalg.norm(person)
                await _compare(storage, shards, SessionId("large"), query, threshold)
        await shards.close()
