"""Duplicates, disorder, and deletions at every moment of a photo's way."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from faults.processes import INGEST, INTAKE, SERVE
from faults.suite import Scene

COPIES = 10


@pytest.mark.timeout(600)
def test_tenfold_duplicates_in_any_order(scene: Scene) -> None:
    serve, *_ = scene.world.lasting(SERVE, INTAKE, INGEST)
    driver, pick = scene.driver, scene.randomness
    sessions = [scene.session("order") for _ in range(3)]
    sends: list[Callable[[], object]] = []
    for number in range(20):
        session, photo = pick.choice(sessions), f"photo-{number}"
        for _ in range(pick.randint(1, 3)):
            at, picture = driver.now(), pick.choice(list(driver.pictures))
            sends.append(lambda s=session, p=photo, k=picture, t=at: driver.index(s, p, k, at=t))  # type: ignore[misc]
            if pick.random() < 0.3:
                at = driver.now()
                sends.append(lambda s=session, p=photo, t=at: driver.delete_photo((s, p), at=t))  # type: ignore[misc]
    at = driver.now() - timedelta(milliseconds=20)
    sends.append(lambda: driver.delete_session(sessions[0], at=at))
    sends *= COPIES
    pick.shuffle(sends)
    for send in sends:
        send()
    scene.settle(90)
    scene.check_searches(serve, selfie="lisa")


@pytest.mark.timeout(600)
def test_deletions_before_at_and_after_the_events_they_cover(scene: Scene) -> None:
    serve, *workers = scene.world.lasting(SERVE, INTAKE, INGEST)
    driver, session = scene.driver, scene.session("fences")
    early = driver.now()
    same = driver.now()
    # deleted before it is indexed, by arrival and by its own time
    driver.delete_photo((session, "first deleted"))
    driver.index(session, "first deleted", "lisa", at=early)
    # deleted at the very time of its event: the deletion wins, whichever comes first
    driver.index(session, "same time, event first", "lisa", at=same)
    driver.delete_photo((session, "same time, event first"), at=same)
    driver.delete_photo((session, "same time, deletion first"), at=same)
    driver.index(session, "same time, deletion first", "lisa", at=same)
    # deleted, and brought back by a newer event
    driver.index(session, "brought back", "lisa", at=early)
    driver.delete_photo((session, "brought back"), at=same)
    driver.index(session, "brought back", "matt")
    # a deletion that arrives late and is older than the event
    driver.index(session, "older deletion", "david")
    driver.delete_photo((session, "older deletion"), at=early)
    scene.settle(60)
    # a whole session, emptied, and a replay of everything that was there
    other = scene.session("emptied")
    times = [driver.index(other, f"photo-{number}", "jennifer") for number in range(10)]
    scene.settle(60)
    driver.delete_session(other, at=times[4])
    scene.settle(60)
    for number, at in enumerate(times):
        driver.index(other, f"photo-{number}", "jennifer", at=at)
    driver.index(other, "late and never seen before", "jennifer", at=times[4])
    scene.settle(60)
    assert len(scene.table.people_in(other)) == 5
    scene.check_searches(serve, selfie="lisa")
    assert all(worker.running() for worker in workers), scene.tails()


@pytest.mark.timeout(600)
@pytest.mark.parametrize("point", ["fetched", "embedded", "inside-transaction"])
@pytest.mark.parametrize("what", ["photo", "session"])
def test_deletion_during_inference(scene: Scene, point: str, what: str) -> None:
    serve, _ = scene.world.lasting(SERVE, INTAKE)
    hold = scene.world.hold(point)
    scene.world.ingest(trick=hold.trick)
    driver, session = scene.driver, scene.session("raced")
    driver.index_many([(session, "doomed", "lisa"), (session, "neighbour", "lisa")])
    hold.wait_until_reached()
    if what == "photo":
        driver.delete_photo((session, "doomed"))
    else:
        driver.delete_session(session)
    if point != "inside-transaction":  # there it waits for the lock that the held transaction has
        scene.verifier.wait_for_fence(session, "doomed" if what == "photo" else None)
    hold.let_go()
    scene.settle(60)
    scene.check_searches(serve, selfie="lisa")
