"""Kill -9 at named points and at random moments: nothing is lost, nothing is doubled."""

import time

import httpx
import pytest
from faults.suite import Scene
from faults.waiting import wait_for

POINTS = ("fetched", "embedded", "inside-transaction", "after-commit", "before-offset-commit")
"""Of ingest; where a batch passes many photos, the kill comes at any of them."""
ROUNDS = 5
RANDOM_KILLS = 50


@pytest.mark.timeout(600)
def test_ingest_killed_at_every_named_point(scene: Scene) -> None:
    scene.world.intake()
    session = scene.session("points")
    for turn in range(ROUNDS):
        doomed = [scene.world.ingest(trick=("kill", point, str(_passes(scene, point)))) for point in POINTS]
        deadline = time.monotonic() + 120
        while running := [worker for worker in doomed if worker.running()]:
            assert time.monotonic() < deadline, f"never came to its point: {running[0].name}\n{running[0].tail()}"
            scene.driver.traffic([session], photos=8, label=f"{turn}")
            time.sleep(0.5)
        assert [worker.status for worker in doomed] == [-9] * len(doomed)
        scene.verifier.check_ledger()
        scene.verifier.check_offsets(scene.table)
    scene.world.ingest()
    scene.settle(120)


def _passes(scene: Scene, point: str) -> int:
    return scene.randomness.randint(1, 12 if point in {"fetched", "embedded"} else 2)


@pytest.mark.timeout(600)
def test_fifty_kills_of_ingest_at_random_moments(scene: Scene) -> None:
    scene.world.intake()
    workers = [scene.world.ingest(), scene.world.ingest()]
    sessions = [scene.session("random") for _ in range(4)]
    with scene.watched(lambda: _hold_at_all_times(scene), every=2.0):
        for _ in range(RANDOM_KILLS):
            _traffic_for(scene, sessions, scene.randomness.uniform(0.3, 6.0))
            victim = scene.randomness.randrange(len(workers))
            workers[victim].kill()
            workers[victim] = scene.world.ingest()
    scene.settle_and_compare(150)


@pytest.mark.timeout(300)
def test_serve_killed_while_it_loads_a_shard(scene: Scene) -> None:
    workers = [scene.world.intake(), scene.world.ingest()]
    session = scene.session("loads")
    scene.driver.traffic([session], photos=40, label="l")
    scene.settle(60)
    for turn in range(ROUNDS):
        doomed = scene.world.serve(trick=("kill", "shard-load", "1"))
        doomed.wait_until_ready()
        with pytest.raises(httpx.TransportError):
            scene.verifier.search(doomed.url, session, "lisa")
        assert doomed.ended(within=10) == -9
        scene.driver.traffic([session], photos=5, label=f"l{turn}")
    scene.settle(60)
    healthy = scene.world.serve().wait_until_ready()
    scene.verifier.check_searches(healthy.url, scene.table, selfie="lisa")
    wait_for(
        lambda: scene.verifier.query("SELECT count(*) FROM replicas")[0][0] >= 1, 10, "the replica's registration"
    )
    assert all(worker.running() for worker in workers)


@pytest.mark.timeout(200)
def test_a_kill_between_the_commit_and_the_dead_letter(scene: Scene) -> None:
    scene.world.intake().wait_until_ready()
    doomed = scene.world.ingest(trick=("kill", "after-commit", "1")).wait_until_ready()
    session = scene.session("letters")
    scene.driver.index_many([(session, name, name) for name in ("damaged", "text", "missing", "lisa")])
    assert doomed.ended(within=60) == -9
    scene.world.ingest()
    scene.settle(90)


def _hold_at_all_times(scene: Scene) -> None:
    scene.verifier.check_ledger()
    scene.verifier.check_offsets(scene.table)


def _traffic_for(scene: Scene, sessions: list[str], seconds: float) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        scene.driver.traffic(sessions, photos=3, label="r")
        time.sleep(min(0.4, max(0.0, until - time.monotonic())))
