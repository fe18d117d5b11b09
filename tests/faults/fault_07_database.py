"""PostgreSQL stops at once, stays away, ends every connection, has none left: searches on loaded shards go on, and
all is healed within 30 s of its return, unaided."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager

import httpx
import psycopg
import pytest
from faults.processes import DEFAULT_LEASE, Wanted
from faults.suite import Scene
from faults.world import World

WATCHDOG = {"FACEPASS_WATCHDOG_SECONDS": "300"}
"""The default: the suite's own would end a worker whose query got no answer for all of an outage."""
SERVE = Wanted(kind="serve", settings={**DEFAULT_LEASE, "FACEPASS_DATABASE_POOL_SIZE": "2"})
INTAKE, INGEST = (Wanted(kind=kind, settings=WATCHDOG) for kind in ("intake", "ingest"))
"""The same processes go through one outage after the other."""

OUTAGE_SECONDS = 45.0
SILENT_SECONDS = 25.0
EXHAUSTED_SECONDS = 15.0
"""Both longer than anybody waits for a connection (10 s)."""
HEALED_WITHIN = 30.0
_END_CONNECTIONS = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'facepass'"


@contextmanager
def _crash(world: World) -> Iterator[None]:
    """Immediate stop, and back as soon as it has recovered."""
    world.postgres.stop_immediately()
    yield
    world.postgres.start()


@contextmanager
def _kill(world: World) -> Iterator[None]:
    world.postgres.kill()
    yield
    world.postgres.start()


@contextmanager
def _long_outage(world: World) -> Iterator[None]:
    world.postgres.stop_immediately()
    yield
    time.sleep(OUTAGE_SECONDS)
    world.postgres.start()


@contextmanager
def _connections_ended(world: World) -> Iterator[None]:
    """Every connection of FacePass is terminated, again and again."""
    with psycopg.connect(world.postgres.uri, autocommit=True) as connection:
        for turn in range(5):
            connection.execute(_END_CONNECTIONS)
            if turn == 0:
                yield
            time.sleep(1)


@contextmanager
def _no_connection_left(world: World) -> Iterator[None]:
    """Somebody else has taken all connections, FacePass's own too."""
    with ExitStack() as stack:
        admin = stack.enter_context(psycopg.connect(world.postgres.uri, autocommit=True))
        until, reached = time.monotonic() + EXHAUSTED_SECONDS, False
        while time.monotonic() < until:
            admin.execute(_END_CONNECTIONS)
            try:
                while True:
                    stack.enter_context(psycopg.connect(world.postgres.uri))
            except psycopg.OperationalError:
                if not reached:
                    reached = True
                    yield
            time.sleep(0.5)


@contextmanager
def _locked(world: World) -> Iterator[None]:
    """Every connection of every pool waits for a lock."""
    with psycopg.connect(world.postgres.uri) as connection:
        connection.execute("LOCK TABLE session_generations, photo_results IN ACCESS EXCLUSIVE MODE")
        yield
        time.sleep(EXHAUSTED_SECONDS)


@contextmanager
def _silent(world: World) -> Iterator[None]:
    """Connections stay open and nothing answers: a network that swallows packets."""
    world.database_proxies[0].stall()
    yield
    time.sleep(SILENT_SECONDS)
    world.database_proxies[0].drop()
    world.database_proxies[0].mend()


OUTAGES = (_crash, _kill, _long_outage, _connections_ended, _no_connection_left, _locked, _silent)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("outage", OUTAGES)
def test_an_outage_of_postgresql(scene: Scene, outage: Callable[[World], AbstractContextManager[None]]) -> None:
    serve, *workers = scene.world.lasting(SERVE, INTAKE, INGEST)
    session, other = scene.session("database"), scene.session("not-loaded")
    both = [(one, f"before-{number}", "lisa") for one in (session, other) for number in range(20)]
    scene.driver.index_many(both)
    scene.settle(60)
    scene.verifier.check_searches(serve.url, scene.table, selfie="lisa", sessions=[session])
    scene.driver.index_many([(session, f"during-{number}", "matt") for number in range(40)])

    def search() -> None:
        answer = scene.verifier.search(serve.url, session, "lisa")
        assert answer.status_code == httpx.codes.OK, answer.text
        found = {match["photo_id"] for match in answer.json()["matches"]}
        assert {f"before-{number}" for number in range(20)} <= found

    with ThreadPoolExecutor(1) as thread, scene.watched(search, every=0.3):
        with outage(scene.world):
            scene.driver.index_many([(session, f"after-{number}", "david") for number in range(20)])
            scene.driver.delete_photo((session, "during-0"))
            # a shard that must be loaded cannot be; that must not take the searches on others along
            unloaded = thread.submit(scene.verifier.search, serve.url, other, "lisa", timeout=90.0)
        scene.settle(HEALED_WITHIN)
        assert unloaded.result().status_code in {httpx.codes.OK, httpx.codes.SERVICE_UNAVAILABLE}
    assert [process.status for process in (serve, *workers)] == [None] * 3, scene.tails()
    scene.check_searches(serve, selfie="lisa", within=HEALED_WITHIN)
    serve.wait_until_ready(HEALED_WITHIN)


@pytest.mark.timeout(600)
def test_workers_started_before_postgresql(scene: Scene) -> None:
    scene.world.postgres.stop()
    workers = [scene.world.intake(), scene.world.ingest(), scene.world.serve()]
    time.sleep(EXHAUSTED_SECONDS)
    assert [worker.status for worker in workers] == [None] * 3, scene.tails()
    scene.world.postgres.start()
    session = scene.session("late-database")
    scene.driver.index(session, "photo", "lisa")
    scene.settle(60)
    for worker in workers:
        worker.wait_until_ready(60)
    scene.check_searches(workers[2], selfie="lisa")
