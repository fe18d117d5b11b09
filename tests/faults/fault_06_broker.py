"""The broker is terminated, killed, frozen, and started again on the same log; searches keep answering."""

import time
from collections.abc import Callable

import httpx
import pytest
from faults.processes import DEFAULT_LEASE, INGEST, INTAKE, Wanted
from faults.suite import Scene

from facepass.local.apache_kafka import ApacheKafka

SERVE = Wanted(kind="serve", settings=DEFAULT_LEASE)
FROZEN_SECONDS = 30.0
DOWN_SECONDS = 8.0


def _terminate(broker: ApacheKafka) -> None:
    broker.stop()
    time.sleep(DOWN_SECONDS)
    broker.start()


def _kill(broker: ApacheKafka) -> None:
    broker.kill()
    time.sleep(DOWN_SECONDS)
    broker.start()


def _freeze(broker: ApacheKafka) -> None:
    broker.freeze()
    time.sleep(FROZEN_SECONDS)
    broker.thaw()


@pytest.mark.timeout(600)
@pytest.mark.parametrize("outage", [_terminate, _kill, _freeze])
def test_an_outage_of_the_broker(scene: Scene, outage: Callable[[ApacheKafka], None]) -> None:
    serve, *workers = scene.world.lasting(SERVE, INTAKE, INGEST)
    session = scene.session("broker")
    scene.driver.index_many([(session, f"before-{number}", "lisa") for number in range(40)])
    scene.settle(60)
    scene.verifier.check_searches(serve.url, scene.table, selfie="lisa")
    # work in hand when it happens
    scene.driver.index_many([(session, f"during-{number}", "matt") for number in range(80)])

    def search() -> None:
        answer = scene.verifier.search(serve.url, session, "lisa")
        assert answer.status_code == httpx.codes.OK, answer.text
        found = {match["photo_id"] for match in answer.json()["matches"]}
        assert {f"before-{number}" for number in range(40)} <= found

    with scene.watched(search, every=0.3):
        outage(scene.world.kafka.broker)
        scene.driver.index_many([(session, f"after-{number}", "david") for number in range(40)])
        scene.driver.delete_photo((session, "during-0"))
        scene.settle(150)
    assert [worker.status for worker in workers] == [None, None], scene.tails()
    scene.check_searches(serve, selfie="matt")


@pytest.mark.timeout(600)
def test_workers_started_before_the_broker(scene: Scene) -> None:
    broker = scene.world.kafka.broker
    broker.stop()
    workers = [scene.world.intake(), scene.world.ingest(), scene.world.serve()]
    time.sleep(15)
    assert [worker.status for worker in workers] == [None] * 3, scene.tails()
    broker.start()
    session = scene.session("late-broker")
    scene.driver.index(session, "photo", "lisa")
    scene.settle(90)
    for worker in workers:
        worker.wait_until_ready()
    scene.check_searches(workers[2], selfie="lisa")
