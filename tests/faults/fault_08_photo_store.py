"""A photo store that refuses, stumbles, hangs and lies: one bad object never holds the others up."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest
from faults.faulty_store import FaultyStore, faulty_store
from faults.loop_thread import LoopThread
from faults.pictures import Picture
from faults.suite import Scene
from faults.waiting import wait_for

PASSING = ("500", "503", "truncated", "too long", "reset", "stall", "stall in the body")
"""What a store does today and not tomorrow; photos wait for it."""
LASTING = {
    "404": "photo_not_found",
    "403": "store_forbidden",
    "endless": "file_too_large",
}
"""What trying again does not mend."""

PHOTO_MAX_BYTES = "3000000"
GOOD = 20
UNHELD = 12.0
"""Seconds that the neighbours of bad objects may take longer than without these. More than a batch waits for one
photo (5 s), far less than the time-outs of a hanging transfer would hold them."""


@pytest.fixture(scope="module")
def store(loop: LoopThread, pictures: dict[str, Picture]) -> Iterator[FaultyStore]:
    with faulty_store(loop, pictures | _copies(pictures)) as store:
        yield store


def _copies(pictures: dict[str, Picture]) -> dict[str, Picture]:
    """An object of its own for each fault."""
    return {fault: _copy(pictures, fault) for fault in (*PASSING, *LASTING, "for ever")}


def _copy(pictures: dict[str, Picture], fault: str) -> Picture:
    return replace(pictures["lisa"], key=f"faulty/{fault.replace(' ', '-')}.jpg")


@pytest.mark.timeout(600)
def test_every_fault_ends_in_its_own_state_and_holds_nobody_up(
    scene: Scene, store: FaultyStore, pictures: dict[str, Picture]
) -> None:
    _know(scene, pictures, LASTING | dict.fromkeys(PASSING, ""))
    settings = {**store.settings, "FACEPASS_PHOTO_MAX_BYTES": PHOTO_MAX_BYTES}
    scene.world.intake().wait_until_ready()
    scene.world.ingest(more=settings).wait_until_ready()
    driver, session = scene.driver, scene.session("faulty")
    alone = _time_of_good_photos(scene, session, "alone", [])
    for fault in (*PASSING, *LASTING):
        store.fail(driver.pictures[fault].key, fault)
    beside = _time_of_good_photos(scene, session, "beside", [*PASSING, *LASTING])
    assert beside < alone + UNHELD, f"bad objects hold their neighbours up: {beside:.0f} s, else {alone:.0f} s"
    for fault in PASSING:
        store.faults.pop(driver.pictures[fault].key)
    scene.settle(150)


@pytest.mark.timeout(600)
def test_a_store_that_never_comes_back_ends_in_a_rebuilt_dead_letter(
    scene: Scene, store: FaultyStore, pictures: dict[str, Picture]
) -> None:
    _know(scene, pictures, {"for ever": "store_unavailable"})
    scene.world.intake()
    scene.world.ingest(more=store.settings, FACEPASS_RETRY_HOURS="0.002")  # 7 s: the second attempt is the last
    store.fail(scene.driver.pictures["for ever"].key, "503")
    session = scene.session("never")
    scene.driver.index(session, "lost", "for ever")
    scene.settle(90)
    letters = {letter.origin: letter for letter in scene.verifier.dead_letters()}
    ((_, _, (record,)),) = scene.table.indexed[session, "lost"]
    assert letters[record].headers["facepass-rebuilt"] == b"true"
    assert letters[record].code == "store_unavailable"


def _know(scene: Scene, pictures: dict[str, Picture], faults: dict[str, str]) -> None:
    """Tell the driver of the objects that fail; with a code, the photo fails for good."""
    known = dict(pictures)
    for fault, code in faults.items():
        picture = _copy(pictures, fault)
        failing = replace(picture, people=frozenset(), state="failed", code=code)
        known[fault] = failing if code else picture
        scene.verifier.reference[picture.key] = scene.verifier.reference[pictures["lisa"].key]
    scene.driver.pictures = known


def _time_of_good_photos(scene: Scene, session: str, label: str, bad: Sequence[str]) -> float:
    """Seconds from publishing good photos, with bad ones among them, to the last good one's being indexed."""
    mixed = [(session, f"{label}-{number}", "matt") for number in range(GOOD)]
    mixed += [(session, fault, fault) for fault in bad]
    scene.randomness.shuffle(mixed)
    scene.driver.index_many(mixed)
    begun = time.monotonic()
    wait_for(lambda: _indexed(scene, session, label) == GOOD, 120, "the good photos to be indexed")
    return time.monotonic() - begun


def _indexed(scene: Scene, session: str, label: str) -> int:
    rows = scene.verifier.rows([session])
    return sum(row.state == "indexed" for (_, photo), row in rows.items() if photo.startswith(label))
