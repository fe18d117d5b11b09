"""Shards in a serving process: loading, memory, hints, waiting, deletions that race a load, outages."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import numpy as np
import pytest
from structlog.testing import capture_logs
from support.ledger import SPEC, Storage, at, open_storage, outcome, photo_event, random_vector
from support.shard_rows import index, outage, until_there

from facepass.schemas import metrics
from facepass.schemas.errors import ErrorCode, FacePassError, PermanentError, TransientError
from facepass.schemas.events import IndexUpdate, SessionUpdated
from facepass.schemas.faces import GenerationSpec
from facepass.schemas.ids import PhotoId, SessionId
from facepass.schemas.ledger import PhotoState
from facepass.schemas.settings import DatabaseSettings, ShardSettings
from facepass.storage import database
from facepass.storage.reads import read_counts
from facepass.storage.shards import deltas, shard_loading
from facepass.storage.shards.shard import ShardAnswer
from facepass.storage.shards.shards import Shards
from facepass.storage.writes import (
    delete_photo,
    delete_session,
    register_photos,
    save_photos,
    update_session,
)

S = SessionId("s")
QUERY = random_vector("anna")
ANNA = np.stack([QUERY])


@pytest.fixture
async def storage(database_settings: DatabaseSettings) -> AsyncIterator[Storage]:
    async with open_storage(database_settings) as opened:
        yield opened


@asynccontextmanager
async def open_shards(storage: Storage, budget_mb: float = 64) -> AsyncIterator[Shards]:
    shards = Shards(storage.store, ShardSettings.model_construct(shard_memory_mb=budget_mb))
    try:
        yield shards
    finally:
        await shards.close()


@pytest.fixture
async def shards(storage: Storage) -> AsyncIterator[Shards]:
    async with open_shards(storage) as opened:
        yield opened


async def search(shards: Shards, session: str = S, **more: Any) -> ShardAnswer:
    return await shards.search(SessionId(session), QUERY, threshold=0.0, limit=100, **more)


async def photos(shards: Shards, session: str = S, **more: Any) -> list[str]:
    return [match.photo_id for match in (await search(shards, session, **more)).matches]


async def error_of(shards: Shards, session: str = S) -> FacePassError:
    with pytest.raises(FacePassError) as caught:
        await search(shards, session)
    return caught.value


def value(metric: Any) -> float:
    return float(metric._value.get())


# ---- loading


async def test_a_shard_is_loaded_at_first_use_and_once(storage: Storage, shards: Shards) -> None:
    await index(storage, S, "p", ANNA)
    before = value(metrics.shard_loads_total)
    assert shards.held() == {}
    assert await asyncio.gather(*(photos(shards) for _ in range(20))) == [["p"]] * 20
    assert await photos(shards) == ["p"]
    assert value(metrics.shard_loads_total) - before == 1
    assert shards.held() == {S: 1}


async def test_who_waits_for_a_load_may_go_and_the_load_goes_on(storage: Storage, shards: Shards) -> None:
    await index(storage, S, "p", ANNA)
    first, second = asyncio.create_task(search(shards)), asyncio.create_task(search(shards))
    await asyncio.sleep(0)
    first.cancel()
    assert [match.photo_id for match in (await second).matches] == ["p"]
    assert first.cancelled() or first.done()


async def test_a_session_without_any_photo_is_not_found_and_not_kept(storage: Storage, shards: Shards) -> None:
    await index(storage, "deleted", "p", ANNA)
    await delete_session(storage.store, SessionId("deleted"), at(5))
    for session in ["deleted", *(f"unknown {number}" for number in range(50))]:
        error = await error_of(shards, session)
        assert (type(error), error.code) == (PermanentError, ErrorCode.SESSION_NOT_FOUND)
    assert shards.held() == {}


async def test_a_session_of_pending_photos_answers_with_no_match(storage: Storage, shards: Shards) -> None:
    await register_photos(storage.store, [photo_event(S, "p"), photo_event(S, "q")])
    failed = outcome(photo_event(S, "q"), PhotoState.FAILED)
    await save_photos(storage.store, [failed], retry_hours=24)
    answer = await search(shards)
    assert (answer.matches, answer.total, answer.photos, answer.pending, answer.failed) == ([], 0, 0, 1, 1)


async def test_an_announced_session_without_photos_answers_with_no_match(storage: Storage, shards: Shards) -> None:
    announced = SessionUpdated(session_id=S, occurred_at=at(1).isoformat())
    await update_session(storage.db, announced)
    assert ((await search(shards)).matches, shards.held()) == ([], {S: 0})
    await index(storage, S, "p", ANNA)
    held = shards.held()
    shards.note(held, {S: await read_counts(storage.store, S)})
    await shards.catch_up()
    assert await photos(shards) == ["p"]


async def test_what_was_read_of_a_held_session_is_told(storage: Storage, shards: Shards) -> None:
    await index(storage, S, "p", ANNA)
    assert shards.counts(S) is None
    await shards.prepare(S)
    assert [(counts.photo_count, counts.facepass_enabled) for counts in [shards.counts(S)] if counts] == [
        (1, None)
    ]
    off = SessionUpdated(session_id=S, facepass_enabled=False, occurred_at=at(1).isoformat())
    await update_session(storage.db, off)
    shards.note(shards.held(), {S: await read_counts(storage.store, S)})
    assert [(counts.revision, counts.facepass_enabled) for counts in [shards.counts(S)] if counts] == [(1, False)]


async def test_photos_whose_hashes_are_alike_are_told_apart(
    storage: Storage, shards: Shards, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With hashes of two bits a seed that tells three photos apart must be looked for (0 is none)."""
    for number in range(3, 6):
        await index(storage, S, f"p{number}", np.stack([random_vector(number)]))
    short = {
        name: text.replace("hashtextextended(photo_id, %(seed)s)", "(hashtextextended(photo_id, %(seed)s) & 3)")
        for name, text in deltas._STATEMENTS.items()
    }
    seeds: list[int] = []
    read_changed = deltas._read_changed

    async def watched(connection: Any, values: Any) -> Any:
        seeds.append(values["seed"])
        return await read_changed(connection, values)

    monkeypatch.setattr(deltas, "_STATEMENTS", short)
    monkeypatch.setattr(deltas, "_read_changed", watched)
    for number in range(3, 6):
        answer = await shards.search(S, random_vector(number), threshold=0.9, limit=10)
        assert [match.photo_id for match in answer.matches] == [f"p{number}"]
    assert seeds == [0, 1]


async def test_a_failed_load_is_tried_again(storage: Storage, shards: Shards) -> None:
    await index(storage, S, "p", ANNA)
    await storage.execute("ALTER TABLE photo_results RENAME TO hidden_results")
    assert (await error_of(shards)).code is ErrorCode.NOT_MIGRATED
    assert shards.held() == {}
    await storage.execute("ALTER TABLE hidden_results RENAME TO photo_results")
    assert await photos(shards) == ["p"]


async def test_nothing_is_loaded_while_the_replica_is_not_registered(storage: Storage, shards: Shards) -> None:
    await index(storage, S, "p", ANNA)
    shards.may_load = False
    error = await error_of(shards)
    assert (type(error), error.code) == (TransientError, ErrorCode.LEASE_EXPIRED)
    shards.may_load = True
    assert await photos(shards) == ["p"]


# ---- memory


@asynccontextmanager
async def _large_sessions(settings: DatabaseSettings, *sizes: int) -> AsyncIterator[Storage]:
    """Sessions "0", "1", … with faces of 512 floats, about 1 KiB each."""
    spec = GenerationSpec(pack="test", vector_size=512, operating_point=0.36, fingerprint=SPEC.fingerprint)
    async with open_storage(settings, spec) as storage:
        for number, faces in enumerate(sizes):
            await index(storage, str(number), f"photo-{number}", np.eye(512, dtype=np.float32)[:faces])
        yield storage


async def _first_photo(shards: Shards, session: str) -> str:
    query = np.eye(512, dtype=np.float32)[0]
    answer = await shards.search(SessionId(session), query, threshold=0.9, limit=1)
    return answer.matches[0].photo_id


async def test_the_shard_used_longest_ago_goes_first_and_is_loaded_again(
    database_settings: DatabaseSettings,
) -> None:
    evicted, held = value(metrics.shard_evictions_total), value(metrics.shards_loaded)
    async with _large_sessions(database_settings, 400, 400, 400) as storage, open_shards(storage, 1) as shards:
        for session in ("0", "1", "0", "2"):
            assert await _first_photo(shards, session) == f"photo-{session}"
        assert list(shards.held()) == ["0", "2"]
        assert value(metrics.shard_evictions_total) - evicted == 1
        assert value(metrics.shards_loaded) - held == 2
        assert 2 * 400 * 1024 < value(metrics.shard_bytes) < 2**20
        assert await _first_photo(shards, "1") == "photo-1"
        assert list(shards.held()) == ["2", "1"]
    assert value(metrics.shards_loaded) == held
    assert value(metrics.shard_bytes) == 0


async def test_a_shard_larger_than_the_budget_is_refused_and_drops_no_other(
    database_settings: DatabaseSettings,
) -> None:
    async with _large_sessions(database_settings, 200, 512) as storage, open_shards(storage, 0.5) as shards:
        assert await _first_photo(shards, "0") == "photo-0"
        error = await error_of_large(shards, "1")
        assert (type(error), error.code) == (PermanentError, ErrorCode.MEMORY_BUDGET)
        assert list(shards.held()) == ["0"]


async def error_of_large(shards: Shards, session: str) -> FacePassError:
    with pytest.raises(FacePassError) as caught:
        await _first_photo(shards, session)
    return caught.value


async def test_a_shard_that_outgrows_the_budget_is_dropped(database_settings: DatabaseSettings) -> None:
    async with _large_sessions(database_settings, 300) as storage, open_shards(storage, 0.5) as shards:
        assert await _first_photo(shards, "0") == "photo-0"
        await index(storage, "0", "more", np.eye(512, dtype=np.float32)[:300])
        _want(shards, "0", 2)
        await shards.catch_up()
        assert shards.held() == {}
        assert (await error_of_large(shards, "0")).code is ErrorCode.MEMORY_BUDGET


async def test_many_sessions_at_once_within_a_small_budget(database_settings: DatabaseSettings) -> None:
    """Loads under way count too: the budget holds, and every search is answered or told to come again."""
    async with _large_sessions(database_settings, *[300] * 6) as storage, open_shards(storage, 0.8) as shards:
        answered = 0
        for _ in range(5):
            found = await asyncio.gather(
                *(_first_photo(shards, str(number)) for number in range(6)), return_exceptions=True
            )
            for number, photo in enumerate(found):
                if isinstance(photo, BaseException):
                    assert isinstance(photo, TransientError) and photo.code is ErrorCode.OVERLOADED
                else:
                    assert photo == f"photo-{number}"
                    answered += 1
            assert value(metrics.shard_bytes) <= 0.8 * 2**20
        assert answered >= 5


# ---- hints


def hint(
    revision: int,
    status: str = "indexed",
    *,
    session: str = S,
    photo: str | None = "p",
    generation: int | None = None,
    of: Storage,
) -> IndexUpdate:
    return IndexUpdate.model_validate(
        {
            "session_id": session,
            "photo_id": photo,
            "occurred_at": at(0).isoformat(),
            "generation": of.generation.number if generation is None else generation,
            "revision": revision,
            "status": status,
        }
    )


def _want(shards: Shards, session: str, revision: int) -> None:
    held = shards._cache.get(SessionId(session))
    assert held is not None
    held.wanted = max(held.wanted, revision)


async def test_a_hint_makes_the_shard_behind_until_it_caught_up(storage: Storage, shards: Shards) -> None:
    await index(storage, S, "p", ANNA)
    assert await photos(shards) == ["p"]
    revision = await index(storage, S, "q", ANNA)
    shards.hint(hint(revision, photo="q", of=storage))
    answer = await search(shards)
    assert (answer.behind, answer.revision, answer.photos) == (1, revision - 1, 1)
    await shards.catch_up()
    answer = await search(shards)
    assert (answer.behind, answer.revision, answer.photos) == (0, revision, 2)


async def test_a_deleted_photo_is_hidden_at_once_and_comes_back_only_when_indexed_anew(
    storage: Storage, shards: Shards
) -> None:
    for photo in ("p", "q"):
        await index(storage, S, photo, ANNA)
    assert await photos(shards) == ["p", "q"]
    deletion = await delete_photo(storage.store, S, PhotoId("p"), at(5))
    shards.hint(deletion.update)
    answer = await search(shards)
    assert ([match.photo_id for match in answer.matches], answer.total) == (["q"], 1)
    await index(storage, S, "p", ANNA, seconds=9)
    assert await photos(shards) == ["q"], "hidden until the shard is there"
    await shards.catch_up()
    assert await photos(shards) == ["p", "q"]
    shards.hint(deletion.update)
    assert await photos(shards) == ["p", "q"], "a late hint does nothing"
    held = shards._cache.get(S)
    assert held is not None and held.hidden == {}, "and is not kept"


async def test_a_deleted_session_is_hidden_at_once(storage: Storage, shards: Shards) -> None:
    await index(storage, S, "p", ANNA)
    assert await photos(shards) == ["p"]
    deletion = await delete_session(storage.store, S, at(5))
    shards.hint(deletion.update)
    answer = await search(shards)
    assert (len(answer.matches), answer.total, answer.photos) == (0, 0, 0)
    assert answer.behind > 0
    await shards.catch_up()
    assert (await error_of(shards)).code is ErrorCode.SESSION_NOT_FOUND
    assert shards.held() == {}


async def test_a_shard_that_is_dropped_with_its_session_is_no_warning(storage: Storage, shards: Shards) -> None:
    """Every deletion of a session whose shard is held ends so; whoever watches warnings has nothing to do."""
    await index(storage, S, "p", ANNA)
    assert await photos(shards) == ["p"]
    shards.hint((await delete_session(storage.store, S, at(5))).update)
    with capture_logs() as logs:
        await shards.catch_up()
    assert shards.held() == {}
    assert [line["log_level"] for line in logs if line["event"] == "shard_dropped"] == ["info"]


async def test_hints_of_another_generation_or_session_are_ignored(storage: Storage, shards: Shards) -> None:
    await index(storage, S, "p", ANNA)
    assert await photos(shards) == ["p"]
    shards.hint(hint(9, "session_deleted", photo=None, generation=storage.generation.number + 1, of=storage))
    shards.hint(hint(9, "session_deleted", photo=None, session="other", of=storage))
    assert (await search(shards)).behind == 0
    assert await photos(shards) == ["p"]


async def test_a_hint_of_what_the_database_does_not_know_is_forgotten(storage: Storage, shards: Shards) -> None:
    """Messages outlive a database that was restored or made anew; nothing would ever reach their revision."""
    await index(storage, S, "p", ANNA)
    assert await photos(shards) == ["p"]
    shards.hint(hint(10**6, "deleted", of=storage))
    shards.hint(hint(10**7, "session_deleted", photo=None, of=storage))
    assert await photos(shards) == []
    await shards.catch_up()
    answer = await search(shards)
    assert ([match.photo_id for match in answer.matches], answer.behind) == (["p"], 0)


# ---- waiting for a revision


async def test_min_revision_reads_ones_own_writes(storage: Storage, shards: Shards) -> None:
    await index(storage, S, "p", ANNA)
    assert await photos(shards) == ["p"]
    revision = await index(storage, S, "q", ANNA)
    answer = await search(shards, min_revision=revision)
    assert (answer.photos, answer.behind) == (1, 1), "nobody asked to wait"
    answer = await search(shards, min_revision=revision, wait=30)
    assert (answer.photos, answer.behind, answer.revision) == (2, 0, revision)


async def test_waiting_ends_when_a_hint_brings_the_revision(storage: Storage, shards: Shards) -> None:
    await index(storage, S, "p", ANNA)
    assert await photos(shards) == ["p"]
    waiting = asyncio.create_task(search(shards, min_revision=2, wait=60))
    await asyncio.sleep(0.2)
    assert not waiting.done()
    shards.hint(hint(await index(storage, S, "q", ANNA), photo="q", of=storage))
    await shards.catch_up()
    assert (await waiting).photos == 2


async def test_waiting_ends_with_the_time(storage: Storage, shards: Shards) -> None:
    await index(storage, S, "p", ANNA)
    answer = await search(shards, min_revision=2**60, wait=0.05)
    assert (answer.photos, answer.behind) == (1, 2**60 - 1)
    assert (await search(shards)).behind == 0, "what one caller asks for is not what the database has"


# ---- loads and deltas beside deletions


@contextmanager
def paused_reads(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Let reads stop when they have read everything, their transaction still open, until told to go on."""
    arrived, go_on = asyncio.Event(), asyncio.Event()
    read_delta = shard_loading.read_delta

    async def read_and_wait(*args: Any, **more: Any) -> Any:
        delta = await read_delta(*args, **more)
        arrived.set()
        await go_on.wait()
        return delta

    monkeypatch.setattr(shard_loading, "read_delta", read_and_wait)
    yield arrived, go_on


@pytest.mark.parametrize("told_by", ["hint", "poll"])
async def test_a_deletion_during_a_load_is_in_the_loaded_shard(
    storage: Storage, shards: Shards, monkeypatch: pytest.MonkeyPatch, told_by: str
) -> None:
    for photo in ("p", "q"):
        await index(storage, S, photo, ANNA)
    with paused_reads(monkeypatch) as (arrived, go_on):
        searching = asyncio.create_task(search(shards))
        await arrived.wait()
        held = shards.held()
        assert held == {S: -1}
        deletion = await delete_photo(storage.store, S, PhotoId("p"), at(5))
        if told_by == "hint":
            shards.hint(deletion.update)
        else:
            _want(shards, S, deletion.update.revision)
        go_on.set()
        answer = await searching
    assert [match.photo_id for match in answer.matches] == ["q"]
    assert (answer.revision, answer.behind) == (deletion.update.revision, 0)


async def test_a_delta_below_the_floor_is_not_used(storage: Storage, shards: Shards) -> None:
    """What was removed and then purged is in no delta any more: the shard must load anew."""
    for photo in ("p", "q"):
        await index(storage, S, photo, ANNA)
    assert await photos(shards) == ["p", "q"]
    revision = (await delete_photo(storage.store, S, PhotoId("p"), at(5))).update.revision
    await storage.execute("DELETE FROM photo_results WHERE photo_id = 'p'")
    await storage.execute("UPDATE session_generations SET delta_floor = %(floor)s, deleted = 0", floor=revision)
    _want(shards, S, revision)
    loads = value(metrics.shard_loads_total)
    await shards.catch_up()
    assert await photos(shards) == ["q"]
    assert value(metrics.shard_loads_total) - loads == 1


async def test_a_database_that_went_back_takes_the_shard_with_it(storage: Storage, shards: Shards) -> None:
    """After a restore from a backup, revisions begin again below the shard's."""
    for photo in ("p", "q"):
        await index(storage, S, photo, ANNA)
    assert await photos(shards) == ["p", "q"]
    await storage.execute("DELETE FROM photo_results WHERE photo_id = 'q'")
    await storage.execute("DELETE FROM face_embeddings WHERE photo_id = 'q'")
    await storage.execute(
        "UPDATE session_generations SET revision = 1, indexed = 1, photo_count = 1, face_count = 1"
    )
    answer = await search(shards, min_revision=3, wait=0.2)
    assert [match.photo_id for match in answer.matches] == ["p"]


async def test_searches_loads_and_deltas_beside_writes_see_only_states_that_were(storage: Storage) -> None:
    """A writer swaps the only photo of a session by deleting and adding in turn; every answer is one revision."""
    async with open_shards(storage, budget_mb=0.02) as shards:
        states: dict[str, dict[int, set[str]]] = {"a": {}, "b": {}, "c": {}}
        done = asyncio.Event()

        async def write(session: str) -> None:
            alive: set[str] = set()
            for number in range(25):
                photo = f"{session}{number}"
                states[session][await index(storage, session, photo, ANNA, seconds=number)] = alive | {photo}
                alive.add(photo)
                if number % 2:
                    gone = f"{session}{number - 1}"
                    deletion = await delete_photo(storage.store, SessionId(session), PhotoId(gone), at(number))
                    alive.discard(gone)
                    states[session][deletion.update.revision] = set(alive)
                    shards.hint(deletion.update)

        async def keep_searching(session: str) -> list[ShardAnswer]:
            answers = []
            while not done.is_set():
                try:
                    answers.append(await search(shards, session))
                except FacePassError as error:
                    assert error.code in {ErrorCode.SESSION_NOT_FOUND, ErrorCode.OVERLOADED}
                await asyncio.sleep(0)
            return answers

        async def keep_catching_up() -> None:
            while not done.is_set():
                await shards.catch_up()
                await asyncio.sleep(0.005)

        searches = [asyncio.create_task(keep_searching(session)) for session in ("a", "b", "c") for _ in range(2)]
        catching = asyncio.create_task(keep_catching_up())
        await asyncio.gather(*map(write, states))
        done.set()
        await catching
        answers = await asyncio.gather(*searches)
    assert sum(map(len, answers)) > 50
    for session, found in zip(["a", "a", "b", "b", "c", "c"], answers, strict=True):
        for answer in found:
            _assert_was(answer, states[session])


def _assert_was(answer: ShardAnswer, states: dict[int, set[str]]) -> None:
    """The answer is the state of its revision, but for photos that a hint hid already."""
    found, stored = {match.photo_id for match in answer.matches}, states[answer.revision]
    assert found <= stored
    for photo in stored - found:
        assert any(photo not in later for revision, later in states.items() if revision > answer.revision), photo
    if not answer.behind:
        assert found == stored


# ---- without a database


async def test_a_loaded_shard_answers_while_the_database_is_away(
    database_settings: DatabaseSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "_POOL_WAIT_SECONDS", 1.0)
    async with open_storage(database_settings) as storage, open_shards(storage) as shards:
        await index(storage, S, "p", ANNA)
        await index(storage, "other", "p", ANNA)
        assert await photos(shards) == ["p"]
        with outage(database_settings):
            assert await photos(shards) == ["p"]
            assert await photos(shards, min_revision=9, wait=0.05) == ["p"]
            _want(shards, S, 2)
            for work in (shards.catch_up(), search(shards, "other")):
                with pytest.raises(TransientError) as caught:
                    await work
                assert caught.value.code is ErrorCode.DATABASE_UNAVAILABLE
            answer = await search(shards)
            assert ([match.photo_id for match in answer.matches], answer.behind) == (["p"], 1)
        monkeypatch.undo()
        await until_there(shards.catch_up)
        assert (await search(shards)).behind == 0
        assert await photos(shards, "other") == ["p"]
