"""`facepass verify` on shards: what a serving process holds against the rows; the poll's part of it."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from types import SimpleNamespace
from typing import Any, cast

import faiss
import httpx
import numpy as np
import pytest
from structlog.testing import capture_logs
from support.ledger import Storage, open_storage, random_vector
from support.live_server import live_server
from support.shard_rows import index

from facepass.cli.verifying.comparison import Comparison
from facepass.cli.verifying.shard_comparison import ShardReport, compare_shards
from facepass.schemas import metrics
from facepass.schemas.ids import PhotoId, SessionId
from facepass.schemas.settings import DatabaseSettings, LeaseSettings, ShardSettings
from facepass.search_api.control import create_control_app
from facepass.search_api.resources import Resources
from facepass.storage.reads.verification import read_contents
from facepass.storage.shards.replica import Replica
from facepass.storage.shards.shard import Shard
from facepass.storage.shards.shards import Shards
from facepass.storage.writes import delete_photo

S = SessionId("свадьба/1")


class Serving:
    """Shards with a control port, and the rows behind them."""

    def __init__(self, storage: Storage, shards: Shards, replica: Replica, url: str) -> None:
        self.storage, self.shards, self.replica, self.url = storage, shards, replica, url

    def shard(self, session: str = S) -> Shard:
        held = self.shards._cache.get(SessionId(session))
        assert held
        assert held.shard
        return held.shard

    async def verify(
        self, *, repair: bool = False, patience: float = 2, **fields: Any
    ) -> tuple[list[str], ShardReport]:
        report = ShardReport()
        wanted = Comparison(store=self.storage.store, patience=patience, **fields)
        found = [one async for one in compare_shards(wanted, self.url, report, repair=repair)]
        return [
            f"{one.where.removeprefix(self.url)}: {one.what}: {one.expected}, not {one.found}" for one in found
        ], report


@asynccontextmanager
async def open_serving(storage: Storage) -> AsyncIterator[Serving]:
    async with AsyncExitStack() as stack:
        shards = Shards(storage.store, ShardSettings())
        stack.push_async_callback(shards.close)
        replica = Replica(storage.store, shards, LeaseSettings())
        await replica.register()
        stack.push_async_callback(replica.close)
        parts = SimpleNamespace(shards=shards, replica=replica, store=storage.store)
        url = await stack.enter_async_context(live_server(create_control_app(cast(Resources, parts))))
        yield Serving(storage, shards, replica, url)


@pytest.fixture
async def serving(database_settings: DatabaseSettings) -> AsyncIterator[Serving]:
    """Two sessions held: one of three photos, one of a single photo."""
    async with open_storage(database_settings) as storage, open_serving(storage) as opened:
        for number in range(3):
            await index(
                storage, S, f"фото {number}", np.stack([random_vector((number, n)) for n in range(number + 1)])
            )
        await index(storage, "other", "p", np.stack([random_vector("p")]))
        await opened.shards.prepare(S)
        await opened.shards.prepare(SessionId("other"))
        yield opened


def flip_a_bit(shard: Shard, face: int = 0) -> None:
    """One bit of one vector, in the memory of the index."""
    flat = faiss.rev_swig_ptr(shard._index.codes.data(), shard._index.ntotal * shard._index.code_size)
    flat[face * shard._index.code_size] ^= 1


# ---- digests


async def test_shard_and_rows_have_one_digest_after_loads_and_deltas(serving: Serving) -> None:
    storage = serving.storage
    for number in range(40):
        await index(
            storage,
            S,
            f"p{number % 7}",
            np.stack([random_vector((number, 9))] * (number % 3)) if number % 3 else np.empty((0, 8), np.float32),
            seconds=number + 1,
        )
        if number % 5 == 0:
            await serving.replica.poll()
    await delete_photo(storage.store, S, PhotoId("фото 1"), (await _now(storage)))
    await serving.replica.poll()
    rows = await read_contents(storage.store, S)
    assert await serving.shards.inspection.contents(S) == rows
    assert rows.faces > 5
    serving.shards.inspection.drop(S)
    await serving.shards.prepare(S)
    assert await serving.shards.inspection.contents(S) == rows


async def _now(storage: Storage) -> Any:
    return (await storage.rows("SELECT clock_timestamp()"))[0][0]


async def test_a_large_shard_is_hashed_in_pieces(serving: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("facepass.storage.shards.digest._CHUNK_FACES", 2)
    rows = await read_contents(serving.storage.store, S)
    assert await serving.shards.inspection.contents(S) == rows
    assert rows.faces == 6


@pytest.mark.parametrize("changes", [2, 1000])
async def test_a_shard_that_changes_between_two_pieces_is_begun_anew(
    serving: Serving, monkeypatch: pytest.MonkeyPatch, changes: int
) -> None:
    shard, some_faces, looked = serving.shard(), Shard.some_faces, []

    def changing(self: Shard, start: int, count: int) -> Any:
        looked.append(start)
        self._revision += 1 < len(looked) <= changes
        return some_faces(self, start, count)

    monkeypatch.setattr("facepass.storage.shards.digest._CHUNK_FACES", 2)
    monkeypatch.setattr(Shard, "some_faces", changing)
    contents = await serving.shards.inspection.contents(S)
    if changes == 1000:
        assert contents is None
    else:
        assert contents
        assert (contents.faces, contents.revision) == (6, shard.revision)
        assert looked == [0, 2, 0, 2, 4, 6]


@pytest.mark.parametrize(
    "change",
    [
        "photo_id = 'renamed'",
        "face_index = 9",
        "confidence = confidence - 0.001",
        "box_x = box_x + 0.001",
        "box_y = box_y + 0.001",
        "box_width = box_width + 0.001",
        "box_height = box_height + 0.001",
    ],
)
async def test_the_digest_is_over_everything_a_shard_holds(serving: Serving, change: str) -> None:
    before = await read_contents(serving.storage.store, S)
    await serving.storage.execute(
        f"UPDATE face_embeddings SET {change} WHERE session_id = '{S}' AND photo_id = 'фото 0'"
    )
    after = await read_contents(serving.storage.store, S)
    assert (before.faces, before.photos) == (after.faces, after.photos)
    assert before.digest != after.digest


# ---- verify


async def test_shards_that_are_right_show_no_difference(serving: Serving) -> None:
    found, report = await serving.verify()
    assert (found, report.compared, report.unsettled) == ([], 2, [])


async def test_a_bit_of_a_shard_is_found_and_mended(serving: Serving) -> None:
    flip_a_bit(serving.shard(), face=4)
    found, _ = await serving.verify()
    assert len(found) == 1, found
    assert found[0].startswith(f", session {S!r}: digest of the shard: ")
    found, report = await serving.verify(repair=True)
    assert len(found) == 1
    assert report.mended == [S]
    assert (await serving.verify())[0] == []


async def test_a_bit_of_a_row_is_found(serving: Serving) -> None:
    await serving.storage.execute(
        "UPDATE face_embeddings SET embedding = ARRAY(SELECT CASE WHEN n = 1 THEN v * 1.001 ELSE v END"
        " FROM unnest(embedding::vector::real[]) WITH ORDINALITY AS e (v, n) ORDER BY n)::halfvec"
        " WHERE session_id = 'other'"
    )
    found, _ = await serving.verify(session=SessionId("other"))
    assert len(found) == 1, found
    assert "session 'other': digest of the shard" in found[0]
    assert (await serving.verify(session=S))[0] == []


async def test_rows_that_came_or_went_behind_the_revision_are_found(serving: Serving) -> None:
    await serving.storage.execute(f"DELETE FROM face_embeddings WHERE session_id = '{S}' AND photo_id = 'фото 0'")
    found, _ = await serving.verify()
    assert [line.split(": ")[1:] for line in found[:2]] == [
        ["faces in the shard", "5 at revision 3, not 6"],
        ["photos in the shard", "2 at revision 3, not 3"],
    ]


async def test_a_shard_that_stays_behind_or_is_ahead_is_found(serving: Serving) -> None:
    await index(serving.storage, S, "new", np.stack([random_vector("new")]))
    found, report = await serving.verify(session=S)
    assert found == [f", session {S!r}: revision of the shard: 4 to 4, not 3"]
    await serving.replica.poll()
    assert (await serving.verify(session=S))[0] == []
    await serving.storage.execute("UPDATE session_generations SET revision = 2")
    found, report = await serving.verify(session=S)
    assert found == [f", session {S!r}: revision of the shard: 2 to 2, not 4"]
    assert report.unsettled == []


async def test_a_shard_that_never_rests_is_said_to_be_not_compared(
    serving: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def moving(_session: SessionId) -> None:
        return None

    monkeypatch.setattr(serving.shards.inspection, "contents", moving)
    found, report = await serving.verify(session=S, patience=0.5)
    assert (found, report.compared, report.unsettled) == ([], 0, [S])


async def test_a_replica_that_does_not_answer_or_is_another_is_a_difference(serving: Serving) -> None:
    right = serving.url
    serving.url = "http://127.0.0.1:1"
    assert (await serving.verify())[0] == [": control port: an answer, not no answer: ConnectError"]
    serving.url = f"{right}/nowhere"
    assert (await serving.verify())[0] == [": control port: an answer, not status 404"]


# ---- the control port


async def test_the_control_port_answers_only_under_its_own_name(serving: Serving) -> None:
    async with httpx.AsyncClient(trust_env=False, base_url=serving.url) as client:
        assert (await client.get("/shards")).json()["shards"][0]["faces"] == 6
        stranger = await client.get("/shards", headers={"Host": "photos.example"})
        assert (stranger.status_code, stranger.text) == (400, "Invalid host header")
        assert (await client.get("/shards/contents", params={"session_id": ""})).status_code == 422
        assert (await client.get("/shards/contents", params={"session_id": "?"})).status_code == 404
        reload = await client.post("/shards/reload", params={"session_id": "?"})
        assert reload.json() == {"dropped": False, "loaded": False}
        assert (await client.get("/docs")).status_code == 404


# ---- the poll


async def test_the_poll_drops_a_shard_with_other_counts_once(serving: Serving) -> None:
    shard = serving.shard()
    shard._rows = shard._rows[:-1]
    before = metrics.shard_mismatches_total._value.get()
    with capture_logs() as logs:
        await serving.replica.poll()
    assert set(serving.shards.held()) == {"other"}
    assert metrics.shard_mismatches_total._value.get() == before + 1
    line = next(line for line in logs if line["event"] == "shard_miscounted")
    assert (line["log_level"], line["faces"], line["faces_expected"]) == ("error", 5, 6)
    await serving.shards.prepare(S)
    await serving.replica.poll()
    assert set(serving.shards.held()) == {"other", S}
    assert metrics.shard_mismatches_total._value.get() == before + 1


async def test_the_poll_does_not_drop_for_ever_when_the_ledger_is_wrong(serving: Serving) -> None:
    await serving.storage.execute(f"UPDATE session_generations SET photo_count = 9 WHERE session_id = '{S}'")
    await serving.replica.poll()
    assert set(serving.shards.held()) == {"other"}
    await serving.shards.prepare(S)
    await serving.replica.poll()
    assert set(serving.shards.held()) == {"other", S}


async def test_a_shard_dropped_while_its_delta_is_under_way_takes_no_memory_with_it(serving: Serving) -> None:
    sessions = serving.shards._cache
    session = sessions.get(S)
    assert session
    serving.shards.inspection.drop(S)
    left = metrics.shard_bytes._value.get()
    sessions.set_aside(session, 1000)
    assert metrics.shard_bytes._value.get() == left
