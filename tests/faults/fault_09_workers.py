"""Workers come and go under load; one is frozen past its session time-out and wakes as a zombie."""

import time

import pytest
from faults.processes import INTAKE
from faults.suite import Scene
from faults.world import SESSION_SECONDS


@pytest.mark.timeout(600)
def test_one_to_three_to_one_with_a_zombie(scene: Scene) -> None:
    (intake,) = scene.world.lasting(INTAKE)
    first = scene.world.ingest().wait_until_ready()
    sessions = [scene.session("workers") for _ in range(3)]

    def load(seconds: float) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            scene.driver.traffic(sessions, photos=4, label="w")
            time.sleep(0.3)

    with scene.watched(lambda: _hold_at_all_times(scene), every=2.0):
        load(2)
        second, third = scene.world.ingest(), scene.world.ingest()
        load(12)
        second.freeze()
        load(2 * SESSION_SECONDS)
        second.thaw()
        load(SESSION_SECONDS)
        assert third.terminate() == 0, third.tail()
        load(3)
        second.kill()
        load(2)
    scene.settle_and_compare(120)
    assert first.running(), first.tail()
    assert intake.running(), intake.tail()


@pytest.mark.timeout(600)
@pytest.mark.parametrize("point", ["fetched", "embedded", "inside-transaction"])
def test_a_zombie_writes_nothing_that_is_out_of_date(scene: Scene, point: str) -> None:
    """Frozen with old results in its hands; meanwhile the photo is indexed anew, deleted, brought back."""
    scene.world.lasting(INTAKE)
    hold = scene.world.hold(point)
    zombie = scene.world.ingest(trick=hold.trick).wait_until_ready()
    driver, session = scene.driver, scene.session("zombie")
    names = ["renewed", "deleted", "brought back", "as it was"]
    driver.index_many([(session, name, "lisa") for name in names])
    hold.wait_until_reached()
    zombie.freeze()
    scene.world.ingest().wait_until_ready()
    driver.index(session, "renewed", "everyone")
    driver.delete_photo((session, "deleted"))
    driver.delete_photo((session, "brought back"))
    driver.index(session, "brought back", "matt")
    # all but what a lock of the zombie's own may hold up until the database ends its transaction
    scene.verifier.wait_until_settled(scene.table, 120, also=scene.tails)
    before = scene.verifier.rows([session])
    zombie.thaw()
    hold.let_go()
    time.sleep(5)
    scene.settle(60)
    assert scene.verifier.rows([session]) == before


@pytest.mark.timeout(600)
def test_a_zombie_intake_undoes_no_deletion(scene: Scene) -> None:
    scene.world.ingest()
    zombie = scene.world.intake().wait_until_ready()
    driver, session = scene.driver, scene.session("zombie-intake")
    driver.index_many([(session, f"photo-{number}", "lisa") for number in range(10)])
    scene.settle(60)
    zombie.freeze()
    driver.index_many([(session, f"late-{number}", "lisa") for number in range(10)])
    driver.delete_session(session)
    other = scene.world.intake()
    scene.settle(60)
    zombie.thaw()
    time.sleep(5)
    scene.settle(60)
    assert other.running(), other.tail()


def _hold_at_all_times(scene: Scene) -> None:
    scene.verifier.check_ledger()
    scene.verifier.check_offsets(scene.table)
