"""A slow message before fast ones, an end in the middle of a batch, a batch that outlasts every time-out."""

import time

import pytest
from faults.processes import INTAKE
from faults.suite import Scene
from faults.waiting import wait_for
from faults.world import SESSION_SECONDS


@pytest.mark.timeout(600)
@pytest.mark.parametrize("batch", ["16", "1"])
def test_a_slow_head_is_processed_again_after_a_kill(scene: Scene, batch: str) -> None:
    """Faust's issue 606: fast messages behind a slow one were committed, and the slow one was lost."""
    scene.world.lasting(INTAKE)
    hold = scene.world.hold("embedded")
    settings = {"FACEPASS_BATCH_PHOTOS": batch, "FACEPASS_THREADS": "2"}
    slow = scene.world.ingest(trick=hold.trick, more=settings).wait_until_ready()
    session = scene.session("slow")
    scene.driver.index(session, "head", "lisa")
    hold.wait_until_reached()
    scene.driver.index_many([(session, f"follower-{number}", "matt") for number in range(60)])
    time.sleep(4)  # several commit intervals of Faust
    scene.verifier.check_offsets(scene.table)
    slow.kill()
    hold.let_go()
    scene.world.ingest()
    scene.settle(90)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("point", ["fetched", "embedded", "inside-transaction", "after-commit"])
def test_sigterm_in_the_middle_of_a_batch(scene: Scene, point: str) -> None:
    scene.world.lasting(INTAKE)
    hold = scene.world.hold(point)
    worker = scene.world.ingest(trick=hold.trick).wait_until_ready()
    session = scene.session("term")
    scene.driver.index_many([(session, f"photo-{number}", "lisa") for number in range(60)])
    hold.wait_until_reached()
    worker.child.process.terminate()
    worker.ended(within=30)  # it stands still there for good: to be abandoned within a bound
    hold.let_go()
    scene.verifier.check_ledger()
    scene.verifier.check_offsets(scene.table)
    scene.world.ingest()
    scene.settle(90)


@pytest.mark.timeout(600)
def test_sigterm_lets_a_batch_finish(scene: Scene) -> None:
    scene.world.lasting(INTAKE)
    hold = scene.world.hold("fetched")
    worker = scene.world.ingest(trick=hold.trick).wait_until_ready()
    session = scene.session("finish")
    scene.driver.index_many([(session, f"photo-{number}", "lisa") for number in range(60)])
    hold.wait_until_reached()
    worker.child.process.terminate()
    hold.let_go()
    assert worker.ended(within=30) == 0, worker.tail()
    scene.verifier.check_ledger()
    scene.verifier.check_offsets(scene.table)
    rows = scene.verifier.rows([session]).values()
    assert any(row.state == "indexed" for row in rows), "the batch under way was thrown away"
    scene.world.ingest()
    scene.settle(90)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("workers", [1, 2])
def test_work_goes_on_after_a_batch_that_outlasts_every_time_out(scene: Scene, workers: int) -> None:
    scene.world.lasting(INTAKE)
    hold = scene.world.hold("embedded")
    slow = scene.world.ingest(trick=hold.trick).wait_until_ready()
    session = scene.session("long")
    scene.driver.index_many([(session, f"before-{number}", "lisa") for number in range(30)])
    hold.wait_until_reached()
    if workers > 1:  # a rebalance in the middle of the batch
        scene.world.ingest()
    time.sleep(2 * SESSION_SECONDS + 1)
    scene.driver.index_many([(session, f"during-{number}", "matt") for number in range(30)])
    scene.verifier.check_offsets(scene.table)
    hold.let_go()
    scene.driver.index_many([(session, f"after-{number}", "david") for number in range(30)])
    scene.settle(120)
    assert slow.running(), slow.tail()
    # and it still takes part: the other one's end leaves all the work to it
    for other in scene.world.processes:
        if other.name.startswith("ingest") and other is not slow:
            other.kill()
    scene.driver.index_many([(session, f"alone-{number}", "lisa") for number in range(30)])
    scene.settle(60)


@pytest.mark.timeout(600)
def test_no_worker_is_silent_when_another_dies_in_a_transaction(scene: Scene) -> None:
    """A worker that is frozen in a transaction holds its sessions' locks; nobody may wait for it for ever."""
    scene.world.lasting(INTAKE)
    hold = scene.world.hold("inside-transaction")
    stuck = scene.world.ingest(trick=hold.trick).wait_until_ready()
    session = scene.session("locked")
    scene.driver.index_many([(session, f"photo-{number}", "lisa") for number in range(30)])
    hold.wait_until_reached()
    stuck.freeze()
    scene.world.ingest().wait_until_ready()
    scene.driver.index(session, "new", "matt")
    wait_for(
        lambda: (row := scene.verifier.rows([session]).get((session, "new"))) and row.state == "indexed",
        90,
        lambda: f"a photo of a session that a frozen worker has locked\n{scene.tails()}",
    )
    stuck.thaw()
    hold.let_go()
    scene.settle(60)
