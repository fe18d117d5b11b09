"""Two replicas, one of them cut off or frozen, while a photo and a session are deleted: no search begun after the
acknowledgement contains them."""

import random
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from faults.processes import INGEST, INTAKE, Process, Wanted
from faults.suite import OpenScene, Scene
from faults.waiting import wait_for
from faults.world import LEASE_SECONDS, World

HEALTHY, CUT = 0, 1
"""Routes: each replica has proxies of its own."""
REPLICAS = [Wanted(kind="serve", route=route) for route in (HEALTHY, CUT)]

Cut = Callable[[World, Process], None]

PHOTOS = 20
STILL_CUT_SECONDS = 3.0
"""After the acknowledgement; the searches go on while the replica finds its way back."""
MENDED_WITHIN = 30.0


@pytest.fixture(scope="module")
def two_routes(directory: Path, stage: OpenScene) -> Iterator[Scene]:
    with stage(directory / "replicas", routes=2) as scene:
        yield scene


@pytest.fixture
def pair(two_routes: Scene, randomness: random.Random) -> Iterator[Scene]:
    """For replicas behind proxies of their own."""
    yield two_routes.begin(randomness)
    _mend(two_routes)
    two_routes.end()


def _mend(scene: Scene) -> None:
    for proxy in (*scene.world.kafka.proxies, *scene.world.database_proxies):
        proxy.mend()


def _no_kafka(world: World, _process: Process) -> None:
    world.kafka.proxies[CUT].cut()


def _silent_kafka(world: World, _process: Process) -> None:
    world.kafka.proxies[CUT].stall()


def _no_database(world: World, _process: Process) -> None:
    world.database_proxies[CUT].cut()


def _silent_database(world: World, _process: Process) -> None:
    world.database_proxies[CUT].stall()


def _nothing(world: World, _process: Process) -> None:
    world.kafka.proxies[CUT].cut()
    world.database_proxies[CUT].cut()


def _silence(world: World, _process: Process) -> None:
    world.kafka.proxies[CUT].stall()
    world.database_proxies[CUT].stall()


def _freeze(_world: World, process: Process) -> None:
    process.freeze()


CUTS = (_no_kafka, _silent_kafka, _no_database, _silent_database, _nothing, _silence, _freeze)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("cut", CUTS)
def test_nothing_deleted_is_returned_by_a_replica_cut_off(pair: Scene, cut: Cut) -> None:
    *replicas, _, _ = pair.world.lasting(*REPLICAS, INTAKE, INGEST)
    kept, dropped = pair.session("kept"), pair.session("dropped")
    pair.driver.index_many([(one, f"photo-{n}", "lisa") for one in (kept, dropped) for n in range(PHOTOS)])
    pair.settle(90)
    for replica in replicas:
        pair.verifier.check_searches(replica.url, pair.table, selfie="lisa")
    cut(pair.world, replicas[CUT])
    for arguments in ([kept, "--photo", "photo-7"], [dropped]):
        done = pair.world.command("sessions", "delete", *arguments)
        assert done.returncode == 0, done.stdout + done.stderr
    pair.table.photo_deleted((kept, "photo-7"), pair.driver.now(), [])
    pair.table.session_deleted(dropped, pair.driver.now(), [])
    both = [(replica, session) for replica in replicas for session in (kept, dropped)]
    with ThreadPoolExecutor(8) as threads:
        begun = [threads.submit(_search, pair, *one) for one in both * 2]
        time.sleep(0.5)
        replicas[CUT].thaw()
        for answer in begun:
            _holds_nothing_deleted(answer.result())

    def search() -> None:
        for one in both:
            _holds_nothing_deleted(_search(pair, *one))

    with pair.watched(search, every=0.1):
        time.sleep(STILL_CUT_SECONDS)
        _mend(pair)
        pair.check_searches(*replicas, selfie="lisa", within=MENDED_WITHIN)
    for replica in replicas:
        replica.wait_until_ready(MENDED_WITHIN)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("cut", [_no_database, _silent_database])
def test_a_replica_without_database_serves_for_a_lease_and_refuses_then(pair: Scene, cut: Cut) -> None:
    lease = 2 * LEASE_SECONDS  # long enough for a search right after the cut, on a busy machine too
    settings = {"FACEPASS_LEASE_SECONDS": f"{lease}"}
    replica, _, _ = pair.world.lasting(Wanted(kind="serve", route=CUT, settings=settings), INTAKE, INGEST)
    session = pair.session("lease")
    pair.driver.index(session, "photo", "lisa")
    pair.settle(60)
    pair.verifier.check_searches(replica.url, pair.table, selfie="lisa")
    cut(pair.world, replica)
    answer = _search(pair, replica, session)
    assert answer is not None
    assert answer.status_code == httpx.codes.OK, "it need not refuse at once"
    wait_for(
        lambda: (a := _search(pair, replica, session)) and a.status_code == httpx.codes.SERVICE_UNAVAILABLE,
        lease + 3.0,
        "a refusal after the lease",
    )
    pair.world.database_proxies[CUT].mend()
    pair.check_searches(replica, selfie="lisa", within=MENDED_WITHIN)
    replica.wait_until_ready(MENDED_WITHIN)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("what", ["photo", "session"])
def test_a_deletion_in_the_middle_of_a_load(pair: Scene, what: str) -> None:
    pair.world.lasting(INTAKE, INGEST)
    session = pair.session("loaded")
    pair.driver.index_many([(session, f"photo-{number}", "lisa") for number in range(PHOTOS)])
    pair.settle(60)
    hold = pair.world.hold("shard-load")
    replica = pair.world.serve(route=CUT, trick=hold.trick).wait_until_ready()
    with ThreadPoolExecutor(4) as threads:
        before = threads.submit(_search, pair, replica, session)
        hold.wait_until_reached()
        if what == "photo":
            pair.driver.delete_photo((session, "photo-7"))
        else:
            pair.driver.delete_session(session)
        pair.verifier.wait_for_fence(session, "photo-7" if what == "photo" else None)
        pair.acknowledge_deletions(within=30)
        after = [threads.submit(_search, pair, replica, session) for _ in range(2)]
        time.sleep(0.5)
        hold.let_go()
        before.result()  # begun before the deletion: either is right
        for answer in after:
            found = answer.result()
            if what == "photo":
                _holds_nothing_deleted(found)
            else:
                assert found is None or not _photos(found), found
    pair.settle(60)
    pair.check_searches(replica, selfie="lisa")


@pytest.mark.timeout(600)
def test_a_search_that_outlasts_its_lease_is_not_answered(pair: Scene) -> None:
    """Begun before the deletion, held up with the deleted photo in its hands."""
    pair.world.lasting(INTAKE, INGEST)
    session = pair.session("held")
    pair.driver.index_many([(session, f"photo-{number}", "lisa") for number in range(PHOTOS)])
    pair.settle(60)
    hold = pair.world.hold("searched")
    replica = pair.world.serve(route=CUT, trick=hold.trick).wait_until_ready()
    with ThreadPoolExecutor(1) as threads:
        before = threads.submit(pair.verifier.search, replica.url, session, "lisa", timeout=120.0)
        hold.wait_until_reached()
        done = pair.world.command("sessions", "delete", session, "--photo", "photo-7")
        assert done.returncode == 0, done.stdout + done.stderr
        pair.table.photo_deleted((session, "photo-7"), pair.driver.now(), [])
        time.sleep(LEASE_SECONDS)  # of the lease that was in force at its beginning nothing is left
        hold.let_go()
        answer = before.result()
    assert answer.status_code == httpx.codes.SERVICE_UNAVAILABLE, answer.text
    pair.check_searches(replica, selfie="lisa")


def _search(scene: Scene, replica: Process, session: str) -> httpx.Response | None:
    """None: no answer at all, which shows nothing either."""
    try:
        return scene.verifier.search(replica.url, session, "lisa", timeout=10.0)
    except httpx.TransportError:
        return None


def _photos(answer: httpx.Response) -> set[str]:
    if answer.status_code != httpx.codes.OK:
        assert answer.status_code in {httpx.codes.NOT_FOUND, httpx.codes.SERVICE_UNAVAILABLE}, answer.text
        return set()
    return {match["photo_id"] for match in answer.json()["matches"]}


def _holds_nothing_deleted(answer: httpx.Response | None) -> None:
    """Of the session kept, all photos but the one deleted; of the session dropped, none."""
    if answer is None or not (photos := _photos(answer)):
        return
    assert photos == {f"photo-{number}" for number in range(PHOTOS)} - {"photo-7"}
