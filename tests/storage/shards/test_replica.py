"""Registration, poll and lease; and when a deletion is acknowledged."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any

import numpy as np
import pytest
from support.ledger import Storage, at, open_storage, random_vector
from support.shard_rows import index, outage, until_there

from facepass.schemas.errors import ErrorCode, TransientError
from facepass.schemas.ids import PhotoId, SessionId
from facepass.schemas.settings import DatabaseSettings, LeaseSettings, ShardSettings
from facepass.storage import database
from facepass.storage.shards import lease, shard_loading
from facepass.storage.shards import replica as replica_module
from facepass.storage.shards.lease import LEASE_MARGIN_SECONDS, wait_until_unserved
from facepass.storage.shards.replica import Replica
from facepass.storage.shards.shards import Shards
from facepass.storage.writes import delete_photo

S, P = SessionId("s"), PhotoId("p")
QUERY = random_vector("anna")
ANNA = np.stack([QUERY])
LEASE = 60.0


@pytest.fixture
async def storage(database_settings: DatabaseSettings) -> AsyncIterator[Storage]:
    async with open_storage(database_settings) as opened:
        yield opened


@pytest.fixture
async def shards(storage: Storage) -> AsyncIterator[Shards]:
    opened = Shards(storage.store, ShardSettings())
    yield opened
    await opened.close()


@pytest.fixture
async def replica(storage: Storage, shards: Shards) -> Replica:
    registered = Replica(storage.store, shards, LeaseSettings(lease_seconds=LEASE))
    await registered.register()
    return registered


class Clock:
    """Stands still but for what a test adds."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(replica_module, "clock", lambda: self.now)


async def found(shards: Shards) -> list[str]:
    answer = await shards.search(S, QUERY, threshold=0.0, limit=10)
    return [match.photo_id for match in answer.matches]


async def rows(storage: Storage) -> dict[str, datetime]:
    return dict(await storage.rows("SELECT replica_id, applied_as_of FROM replicas"))


async def set_age(storage: Storage, replica: Replica, seconds: float) -> None:
    await storage.execute(
        "UPDATE replicas SET applied_as_of = clock_timestamp() - make_interval(secs => %(age)s)"
        " WHERE replica_id = %(id)s",
        age=seconds,
        id=replica.replica_id,
    )


async def unserved(storage: Storage, timeout: float) -> bool:  # noqa: ASYNC109 - the function's own
    return await wait_until_unserved(storage.db, LEASE, timeout=timeout)


# ---- registration


async def test_nothing_is_loaded_before_the_registration(storage: Storage, shards: Shards) -> None:
    await index(storage, S, P, ANNA)
    replica = Replica(storage.store, shards, LeaseSettings())
    with pytest.raises(TransientError) as caught:
        await found(shards)
    assert caught.value.code is ErrorCode.LEASE_EXPIRED
    await replica.register()
    assert list(await rows(storage)) == [replica.replica_id]
    assert await found(shards) == [P]
    assert (replica.deadline(), replica.poll_age()) == (None, None), "registering gives no lease"


async def test_registering_again_does_not_claim_anything_was_applied(storage: Storage, replica: Replica) -> None:
    before = await rows(storage)
    await replica.register()
    assert await rows(storage) == before


async def test_a_replica_that_stops_leaves_no_row_and_has_no_lease(
    storage: Storage, shards: Shards, replica: Replica
) -> None:
    await replica.poll()
    await replica.close()
    assert await rows(storage) == {}
    assert replica.deadline() is None
    assert not shards.may_load


# ---- the lease


async def test_a_lease_runs_from_the_time_of_sending(
    storage: Storage, shards: Shards, replica: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(monkeypatch)
    await index(storage, S, P, ANNA)
    await found(shards)
    await index(storage, S, "q", ANNA)
    read_delta = shard_loading.read_delta

    async def slow_delta(*args: Any, **more: Any) -> Any:
        clock.now += 7
        return await read_delta(*args, **more)

    monkeypatch.setattr(shard_loading, "read_delta", slow_delta)
    await replica.poll()
    assert replica.deadline() == 1000 + LEASE
    assert replica.poll_age() == 7


async def test_a_deadline_passes(replica: Replica, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    await replica.poll()
    deadline = replica.deadline()
    assert deadline is not None
    clock.now += LEASE - 0.001
    assert not replica.expired(deadline)
    clock.now = deadline
    assert replica.expired(deadline)
    await replica.poll()
    assert replica.expired(deadline), "an answer keeps the deadline it noted"
    assert replica.deadline() == deadline + LEASE


async def test_a_poll_without_a_database_leaves_the_old_lease_running_out(
    database_settings: DatabaseSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "_POOL_WAIT_SECONDS", 0.5)
    async with open_storage(database_settings) as storage:
        shards = Shards(storage.store, ShardSettings())
        replica = Replica(storage.store, shards, LeaseSettings(lease_seconds=LEASE))
        await replica.poll()
        await index(storage, S, P, ANNA)
        assert await found(shards) == [P]
        deadline = replica.deadline()
        revision = (await delete_photo(storage.store, S, P, at(5))).update.revision
        with outage(database_settings):
            with pytest.raises(TransientError) as caught:
                await replica.poll()
            assert caught.value.code is ErrorCode.DATABASE_UNAVAILABLE
            assert replica.deadline() == deadline
            assert await found(shards) == [P], "the lease is there for this: until it ends the old answer stands"
        await until_there(replica.poll)
        after = replica.deadline()
        assert deadline is not None and after is not None and after > deadline
        await index(storage, S, "q", ANNA, seconds=9)
        assert (
            await shards.search(S, QUERY, threshold=0.0, limit=10, min_revision=revision + 1, wait=30)
        ).total == 1
        await replica.close()
        await shards.close()


async def test_a_poll_that_takes_as_long_as_a_lease_has_failed(storage: Storage, shards: Shards) -> None:
    replica = Replica(storage.store, shards, LeaseSettings(lease_seconds=0.3))
    await replica.register()
    async with storage.db.transaction() as connection:
        await connection.execute("LOCK TABLE sessions IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(TransientError) as caught:
            await replica.poll()
    assert caught.value.code is ErrorCode.DATABASE_UNAVAILABLE
    assert replica.deadline() is None


# ---- the poll


async def test_a_poll_brings_every_shard_forward_before_it_says_so(
    storage: Storage, shards: Shards, replica: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    for photo in ("p", "q"):
        await index(storage, S, photo, ANNA)
    assert await found(shards) == ["p", "q"]
    before = await rows(storage)
    await delete_photo(storage.store, S, P, at(5))
    read_delta, at_delta = shard_loading.read_delta, []

    async def watched(*args: Any, **more: Any) -> Any:
        at_delta.append((await rows(storage), replica.deadline()))
        return await read_delta(*args, **more)

    monkeypatch.setattr(shard_loading, "read_delta", watched)
    await replica.poll()
    assert at_delta == [(before, None)], "recorded, or leased, before the delta was applied"
    assert await found(shards) == ["q"]
    assert (await rows(storage))[replica.replica_id] > before[replica.replica_id]


async def test_a_poll_reads_the_time_before_it_lists_what_is_held(
    storage: Storage, shards: Shards, replica: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A session listed too early would miss a load that begins in between, with an older snapshot."""
    order: list[str] = []
    begin_poll, held = replica_module._begin_poll, shards.held

    async def timed(*args: Any) -> datetime:
        when = await begin_poll(*args)
        order.append("time")
        return when

    monkeypatch.setattr(replica_module, "_begin_poll", timed)
    monkeypatch.setattr(shards, "held", lambda: order.append("list") or held())
    await replica.poll()
    assert order == ["time", "list"]
    assert await rows(storage)


async def test_the_time_of_a_poll_is_not_after_its_snapshot(storage: Storage, replica: Replica) -> None:
    """The time stands still while the poll's transaction waits: a later clock would claim what it did not see."""
    async with storage.db.transaction() as connection:
        first = await replica_module._begin_poll(connection)
        await connection.execute("SELECT pg_sleep(0.05)")
        assert await replica_module._begin_poll(connection) == first
        clock = await (await connection.execute("SELECT clock_timestamp()")).fetchone()
        assert clock is not None
        assert clock[0] > first
    assert replica.deadline() is None


async def test_a_deletion_while_a_shard_loads_is_found_by_the_poll(
    storage: Storage, shards: Shards, replica: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The load's snapshot is older than the deletion: without the poll's word it would show the deleted face."""
    for photo in ("p", "q"):
        await index(storage, S, photo, ANNA)
    read_delta, arrived, go_on = shard_loading.read_delta, asyncio.Event(), asyncio.Event()

    async def paused(*args: Any, **more: Any) -> Any:
        delta = await read_delta(*args, **more)
        arrived.set()
        await go_on.wait()
        return delta

    monkeypatch.setattr(shard_loading, "read_delta", paused)
    searching = asyncio.create_task(found(shards))
    await arrived.wait()
    await delete_photo(storage.store, S, P, at(5))
    acknowledged = asyncio.create_task(unserved(storage, 60))
    await asyncio.sleep(0.2)
    assert not acknowledged.done()
    await replica.poll()
    assert await acknowledged
    go_on.set()
    assert await searching == ["q"]


async def test_a_replica_whose_row_is_gone_registers_anew_and_polls_again(
    storage: Storage, shards: Shards, replica: Replica
) -> None:
    await replica.poll()
    await storage.execute("DELETE FROM replicas")
    held: list[bool] = []
    register = replica.register

    async def watched() -> None:
        held.append(shards.may_load)
        await register()

    replica.register = watched  # type: ignore[method-assign]
    before = replica.deadline()
    await replica.poll()
    after = replica.deadline()
    assert held == [False], "between two registrations nothing may be loaded"
    assert shards.may_load
    assert list(await rows(storage)) == [replica.replica_id]
    assert before is not None and after is not None and after > before


async def test_a_poll_whose_record_found_no_row_gives_no_lease(
    storage: Storage, replica: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    await storage.execute("DELETE FROM replicas")

    async def fail() -> None:
        raise TransientError(ErrorCode.DATABASE_UNAVAILABLE, "made up")

    monkeypatch.setattr(replica, "register", fail)
    with pytest.raises(TransientError):
        await replica.poll()
    assert replica.deadline() is None


async def test_a_late_record_does_not_lower_the_time(storage: Storage, replica: Replica) -> None:
    await replica.poll()
    before = await rows(storage)
    assert await replica._execute("record", as_of=at(0)) == 1
    assert await rows(storage) == before


async def test_polls_do_not_overlap(replica: Replica, monkeypatch: pytest.MonkeyPatch) -> None:
    running, most = 0, 0
    once = replica._poll_once

    async def counted() -> bool:
        nonlocal running, most
        running += 1
        most = max(most, running)
        done = await once()
        running -= 1
        return done

    monkeypatch.setattr(replica, "_poll_once", counted)
    await asyncio.gather(*(replica.poll() for _ in range(5)))
    assert most == 1


# ---- acknowledging a deletion


async def test_without_replicas_a_deletion_is_acknowledged_at_once(storage: Storage) -> None:
    assert await unserved(storage, 0)


async def test_a_deletion_waits_until_each_live_replica_has_polled(storage: Storage, replica: Replica) -> None:
    other_shards = Shards(storage.store, ShardSettings())
    other = Replica(storage.store, other_shards, LeaseSettings(lease_seconds=LEASE))
    await other.register()
    await replica.poll()
    await other.poll()
    assert not await unserved(storage, 0.3), "polls before the deletion say nothing about it"
    waiting = asyncio.create_task(unserved(storage, 60))
    await asyncio.sleep(0.2)
    await replica.poll()
    await asyncio.sleep(0.3)
    assert not waiting.done(), "the other one may still show it"
    await other.poll()
    assert await waiting
    await other_shards.close()


async def test_who_registers_after_the_deletion_is_not_waited_for(storage: Storage, replica: Replica) -> None:
    waiting = asyncio.create_task(unserved(storage, 60))
    await asyncio.sleep(0.3)
    shards = Shards(storage.store, ShardSettings())
    await Replica(storage.store, shards, LeaseSettings()).register()
    await replica.poll()
    assert await waiting
    assert len(await rows(storage)) == 2
    await shards.close()


async def test_a_replica_that_stops_is_not_waited_for(storage: Storage, replica: Replica) -> None:
    waiting = asyncio.create_task(unserved(storage, 60))
    await asyncio.sleep(0.2)
    await replica.close()
    assert await waiting


async def test_a_dead_replica_is_passed_after_its_lease_and_the_margin_not_before(
    storage: Storage, replica: Replica
) -> None:
    await set_age(storage, replica, LEASE + LEASE_MARGIN_SECONDS - 1)
    waiting = asyncio.create_task(unserved(storage, 60))
    await asyncio.sleep(0.4)
    assert not waiting.done()
    assert len(await rows(storage)) == 1
    await set_age(storage, replica, LEASE + LEASE_MARGIN_SECONDS + 0.001)
    assert await waiting
    assert await rows(storage) == {}


async def test_the_same_time_is_not_later(storage: Storage, replica: Replica) -> None:
    """`applied_as_of` = D proves nothing: the poll may have read just before the deletion."""
    as_of = (await rows(storage))[replica.replica_id]
    assert await lease._still_serving(storage.db, [replica.replica_id], as_of, LEASE) == [replica.replica_id]


@asynccontextmanager
async def polling(replica: Replica) -> AsyncIterator[None]:
    async def poll_forever() -> None:
        while True:
            await replica.poll()
            await asyncio.sleep(0.02)

    task = asyncio.create_task(poll_forever())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_nothing_deleted_is_found_by_a_search_begun_after_the_acknowledgement(
    storage: Storage, shards: Shards, replica: Replica
) -> None:
    """Invariant 4, without hints: loads, evictions, polls, deletions and searches all at once."""
    gone: set[str] = set()
    stop = asyncio.Event()

    async def keep_searching() -> int:
        count = 0
        while not stop.is_set():
            before = set(gone)
            assert not before & set(await found(shards))
            count += 1
            if count % 7 == 0 and (held := shards._cache.get(S)) and held.shard is not None:
                shards._cache.drop(held)
            await asyncio.sleep(0)
        return count

    await index(storage, S, "stays", ANNA)
    async with polling(replica):
        searches = [asyncio.create_task(keep_searching()) for _ in range(3)]
        for number in range(12):
            await index(storage, S, f"p{number}", ANNA, seconds=number)
            await delete_photo(storage.store, S, PhotoId(f"p{number}"), at(number))
            assert await unserved(storage, 60)
            gone.add(f"p{number}")
        stop.set()
        assert sum(await asyncio.gather(*searches)) > 30
