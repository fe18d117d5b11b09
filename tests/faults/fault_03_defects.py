"""A defect, and a cancellation, in the middle of a batch: nothing unfinished is committed, nothing stalls."""

import time

import pytest
from faults.processes import INTAKE
from faults.suite import Scene
from faults.tricked import POINTS

PATIENCE = 120.0

CASES = [
    (what, point)
    for point in POINTS
    for what in ("fail", "cancel")
    # embedding runs in a thread, which nobody can cancel
    if point != "shard-load" and (what, point) != ("cancel", "embedded")
]


@pytest.mark.timeout(600)
@pytest.mark.parametrize(("what", "point"), CASES)
def test_in_the_middle_of_a_batch(scene: Scene, what: str, point: str) -> None:
    """The worker goes on, or ends with a status that a supervisor starts it again for; never silence."""
    scene.world.lasting(INTAKE)
    session = scene.session("defect")
    # Without a watchdog, which would end what stands still; but Kafka's client runs in a thread of Faust's, and
    # nobody else can see what a cancellation stops there.
    alone = {} if (what, point) == ("cancel", "before-offset-commit") else {"FACEPASS_WATCHDOG_SECONDS": "0"}
    # Whether there is a second commit depends on how soon the photos are done.
    passes = "1" if point == "before-offset-commit" else "2"
    worker = scene.world.ingest(trick=(what, point, passes), **alone)
    scene.driver.index_many([(session, f"photo-{number}", "lisa") for number in range(40)])
    deadline = time.monotonic() + PATIENCE
    while worker.running() and (amiss := _unsettled(scene)) and time.monotonic() < deadline:
        time.sleep(0.5)
    scene.verifier.check_ledger()
    scene.verifier.check_offsets(scene.table)
    if worker.running():
        assert not (amiss := _unsettled(scene)), f"neither ended nor done: {amiss[:5]}\n{worker.tail()}"
    else:
        assert worker.status, "ended as if all were well"
        scene.world.ingest()
    _settle_all_but_the_defect(scene)


def _unsettled(scene: Scene) -> list[str]:
    return [line for line in scene.verifier.unsettled(scene.table) if "internal" not in line]


def _settle_all_but_the_defect(scene: Scene) -> None:
    """A defect while one photo is analysed may be that photo's own: then it alone has failed, as `internal`."""
    deadline = time.monotonic() + PATIENCE
    while (amiss := _unsettled(scene)) and time.monotonic() < deadline:
        time.sleep(0.5)
    assert not amiss, "\n".join([*amiss[:10], scene.tails()])
    internal = [line for line in scene.verifier.unsettled(scene.table) if "internal" in line]
    assert len(internal) <= 1, internal
    scene.verifier.check_ledger()
    scene.verifier.check_offsets(scene.table)
