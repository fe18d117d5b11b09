"""Kill -9 at named points and at random moments: nothing is lost, nothing is doubled."""

import time
from collections import Counter
from dataclasses import replace

import httpx
import pytest
from faults.processes import INGEST, INTAKE, Process
from faults.suite import Scene
from faults.waiting import wait_for

POINTS = ("fetched", "embedded", "inside-transaction", "after-commit", "before-offset-commit")
"""Of ingest; where a batch passes many photos, the kill comes at any of them."""
ROUNDS = 5
AT_ONCE = 4
"""Workers, as many as there are partitions."""
RANDOM_KILLS = 50
PATIENCE = 120.0


@pytest.mark.timeout(900)
def test_ingest_killed_at_every_named_point(scene: Scene) -> None:
    scene.world.lasting(INTAKE)
    session = scene.session("points")
    to_come = [point for point in POINTS for _ in range(ROUNDS)]
    scene.randomness.shuffle(to_come)
    doomed: dict[Process, tuple[str, float]] = {}
    died: Counter[str] = Counter()
    with scene.watched(lambda: _hold_at_all_times(scene), every=2.0):
        while to_come or doomed:
            while to_come and len(doomed) < AT_ONCE:
                point = to_come.pop()
                worker = scene.world.ingest(trick=("kill", point, str(_passes(scene, point))))
                doomed[worker] = point, time.monotonic() + PATIENCE
            scene.driver.traffic([session], photos=8, label="p")
            time.sleep(0.5)
            for worker, (point, deadline) in list(doomed.items()):
                if worker.running():
                    assert time.monotonic() < deadline, f"never came to {point}: {worker.name}\n{worker.tail()}"
                    continue
                assert worker.status == -9, worker.tail()
                died[point] += 1
                del doomed[worker]
    assert died == dict.fromkeys(POINTS, ROUNDS)
    scene.world.ingest()
    scene.settle_and_compare(PATIENCE)


def _passes(scene: Scene, point: str) -> int:
    return scene.randomness.randint(1, 12 if point in {"fetched", "embedded"} else 2)


@pytest.mark.timeout(900)
def test_fifty_kills_of_ingest_at_random_moments(scene: Scene) -> None:
    """In waves: after each the group has to be whole again before there is work to be killed in."""
    scene.world.lasting(INTAKE)
    workers = [scene.world.ingest() for _ in range(AT_ONCE)]
    sessions = [scene.session("random") for _ in range(4)]
    left = RANDOM_KILLS
    with scene.watched(lambda: _hold_at_all_times(scene), every=2.0):
        while left:
            _traffic_until_worked(scene, sessions)
            for victim in scene.randomness.sample(range(AT_ONCE), min(left, scene.randomness.randint(2, AT_ONCE))):
                _traffic_for(scene, sessions, scene.randomness.uniform(0.0, 0.8))
                workers[victim].kill()
                workers[victim] = scene.world.ingest()
                left -= 1
    scene.settle_and_compare(150)


@pytest.mark.timeout(600)
def test_serve_killed_while_it_loads_a_shard(scene: Scene) -> None:
    workers = scene.world.lasting(INTAKE, INGEST)
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
    scene.check_searches(healthy, selfie="lisa")
    wait_for(
        lambda: scene.verifier.query("SELECT count(*) FROM replicas")[0][0] >= 1, 10, "the replica's registration"
    )
    assert all(worker.running() for worker in workers)


@pytest.mark.timeout(600)
def test_a_kill_between_the_commit_and_the_dead_letter(scene: Scene) -> None:
    scene.world.lasting(INTAKE)
    doomed = scene.world.ingest(trick=("kill", "after-commit", "1")).wait_until_ready()
    session = scene.session("letters")
    scene.driver.index_many([(session, name, name) for name in ("damaged", "text", "missing", "lisa")])
    assert doomed.ended(within=60) == -9
    scene.world.ingest()
    scene.settle(90)


@pytest.mark.timeout(600)
def test_a_kill_between_the_sweeps_commit_and_its_dead_letter(scene: Scene) -> None:
    """No record comes again for it: that the letter is owed, only the row says."""
    away = {"FACEPASS_PHOTOS": str(scene.world.directory / "not-there"), "FACEPASS_RETRY_HOURS": "0.001"}
    lost = replace(scene.driver.pictures["lisa"], people=frozenset(), state="failed", code="store_unavailable")
    scene.driver.pictures = {**scene.driver.pictures, "lost": lost}
    scene.world.lasting(INTAKE)
    # The first pass is that of the batch, which leaves the photo pending.
    doomed = scene.world.ingest(trick=("kill", "after-commit", "2"), more=away).wait_until_ready()
    session = scene.session("swept")
    scene.driver.index(session, "lost", "lost")
    assert doomed.ended(within=90) == -9
    assert scene.verifier.rows([session])[session, "lost"].state == "failed"
    wait_for(lambda: not scene.verifier.lag(), 30, lambda: f"the commits: {scene.verifier.lag()}")
    ((_, _, (record,)),) = scene.table.indexed[session, "lost"]

    def has_letter() -> bool:
        return record in {letter.origin for letter in scene.verifier.dead_letters()}

    assert not has_letter()
    scene.world.ingest(more=away)
    wait_for(has_letter, 60, lambda: f"the dead letter\n{scene.tails()}", every=0.5)
    scene.settle(90)


def _hold_at_all_times(scene: Scene) -> None:
    scene.verifier.check_ledger()
    scene.verifier.check_offsets(scene.table)


def _traffic_until_worked(scene: Scene, sessions: list[str]) -> None:
    """Publish until photos have been settled that were not before."""
    deadline, before = time.monotonic() + PATIENCE, _worked(scene, sessions)
    while _worked(scene, sessions) == before:
        assert time.monotonic() < deadline, scene.tails()
        _traffic_for(scene, sessions, 0.4)


def _worked(scene: Scene, sessions: list[str]) -> int:
    return sum(row.attempts for row in scene.verifier.rows(sessions).values())


def _traffic_for(scene: Scene, sessions: list[str], seconds: float) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        scene.driver.traffic(sessions, photos=3, label="r")
        time.sleep(min(0.4, max(0.0, until - time.monotonic())))
