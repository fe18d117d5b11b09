"""More workers than partitions; a topic deleted and created again; one that has dropped what was not yet read."""

import asyncio
import random
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.records_to_delete import RecordsToDelete
from faults.loop_thread import LoopThread
from faults.processes import INTAKE, Process
from faults.suite import OpenScene, Scene
from faults.table import Table
from faults.waiting import wait_for
from faults.world import PARTITIONS

PHOTOS = "photo-indexed"


@pytest.fixture(scope="module")
def own_topics(directory: Path, stage: OpenScene) -> Iterator[Scene]:
    with stage(directory / "topics") as scene:
        yield scene


@pytest.fixture
def apart(own_topics: Scene, randomness: random.Random) -> Iterator[Scene]:
    yield own_topics.begin(randomness)
    own_topics.end()


@pytest.mark.timeout(600)
def test_more_workers_than_partitions(scene: Scene) -> None:
    scene.world.lasting(INTAKE)
    workers = [scene.world.ingest() for _ in range(PARTITIONS + 2)]
    for worker in workers:
        worker.wait_until_ready()
    session = scene.session("crowd")
    scene.driver.index_many([(session, f"photo-{number}", "lisa") for number in range(60)])
    scene.settle(60)
    # the spares take over
    for worker in workers[:PARTITIONS]:
        worker.kill()
    scene.driver.index_many([(session, f"more-{number}", "matt") for number in range(60)])
    scene.settle(90)
    assert [worker.status for worker in workers[PARTITIONS:]] == [None, None], scene.tails()


@pytest.mark.timeout(600)
def test_a_topic_that_has_dropped_what_ingest_had_not_read(apart: Scene, loop: LoopThread) -> None:
    apart.world.intake()
    before = apart.world.ingest()
    session = apart.session("gap")
    # so many that every partition has some: of one that a group never read nobody can say what it missed
    apart.driver.index_many([(session, f"read-{number}", "matt") for number in range(60)])
    apart.settle(60)
    assert before.terminate() == 0, before.tail()
    apart.driver.index_many([(session, f"photo-{number}", "lisa") for number in range(60)])
    wait_for(lambda: len(apart.verifier.rows([session])) == 120, 60, "intake to register all")
    ends, committed = loop.run(apart.verifier.positions())
    kept = 5
    cut = {tp: max(0, end - kept) for tp, end in ends.items() if tp.topic == PHOTOS}
    lost = sum(max(0, at - committed["facepass-ingest"].get(tp, 0)) for tp, at in cut.items())
    assert lost
    loop.run(_with_admin(apart, lambda admin: _drop_records(admin, cut)))
    ingest = apart.world.ingest().wait_until_ready()
    wait_for(lambda: not apart.verifier.lag(), 60, lambda: f"what is left to be read\n{apart.tails()}")
    wait_for(lambda: _counted(ingest) == lost, 30, lambda: f"{lost} records to be counted, not {_counted(ingest)}")
    assert re.search(r"retention|gap", ingest.log), "the gap is nowhere in the log"
    # Intake had registered them: the sweep takes them up when their hour is over.
    apart.verifier.execute("UPDATE photo_results SET next_attempt_at = clock_timestamp() WHERE state = 'pending'")
    apart.settle(90)


@pytest.mark.timeout(600)
def test_a_topic_deleted_and_created_again(apart: Scene, loop: LoopThread) -> None:
    world = apart.world
    supervised: list[tuple[Callable[[], Process], Process]] = [
        (start, start()) for start in (world.intake, world.ingest)
    ]
    session = apart.session("anew")
    apart.driver.index_many([(session, f"old-{number}", "lisa") for number in range(40)])
    apart.settle(60)
    loop.run(_with_admin(apart, lambda admin: admin.delete_topics([PHOTOS])))
    time.sleep(3)
    done = world.command("topics", "create")
    assert done.returncode == 0, done.stderr
    apart.driver.table = Table()
    apart.driver.index_many([(session, f"new-{number}", "matt") for number in range(40)])
    deadline = time.monotonic() + 150
    while apart.verifier.unsettled(apart.table):
        assert time.monotonic() < deadline, "\n".join([*apart.verifier.unsettled(apart.table)[:10], apart.tails()])
        # as a supervisor does: what ends with a failure is started again
        for number, (start, process) in enumerate(supervised):
            if not process.running():
                assert process.status, f"{process.name} ended as if all were well\n{process.tail()}"
                supervised[number] = (start, start())
        time.sleep(0.5)
    states = {photo: row.state for (_, photo), row in apart.verifier.rows([session]).items()}
    assert states == {f"{age}-{number}": "indexed" for age in ("old", "new") for number in range(40)}
    apart.verifier.check_ledger()
    apart.verifier.check_offsets(apart.table)


async def _drop_records(admin: AIOKafkaAdminClient, cut: dict[TopicPartition, int]) -> None:
    await admin.delete_records({tp: RecordsToDelete(before_offset=at) for tp, at in cut.items() if at})
    await asyncio.sleep(1)


async def _with_admin(scene: Scene, work: Callable[[AIOKafkaAdminClient], object]) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=scene.world.kafka.address)
    await admin.start()
    try:
        await work(admin)  # type: ignore[misc]
    finally:
        await admin.close()


def _counted(process: Process) -> int:
    text = httpx.get(f"{process.url}/metrics").text
    found = re.search(rf'^retention_gap_records_total{{topic="{PHOTOS}"}} (\S+)', text, re.MULTILINE)
    return round(float(found[1])) if found else 0
