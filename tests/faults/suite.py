"""A scene: a world, its driver and its verifier, with the clean run that the verifier compares with."""

import random
import re
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from faults.driver import Driver
from faults.loop_thread import LoopThread
from faults.pictures import Picture
from faults.processes import INGEST, INTAKE, Process
from faults.reading import Vectors
from faults.table import Table
from faults.verifier import Verifier
from faults.waiting import wait_for
from faults.world import LEASE_SECONDS, World, open_world

CLEAN = "clean-run"

OpenScene = Callable[..., AbstractContextManager["Scene"]]
"""`open_scene` with all but its directory and `routes`."""


@dataclass(slots=True)
class Scene:
    """What a test works with: at its beginning healthy servers, and no process that it has not asked for."""

    world: World
    driver: Driver
    verifier: Verifier
    randomness: random.Random

    @property
    def table(self) -> Table:
        return self.driver.table

    def begin(self, randomness: random.Random) -> "Scene":
        """A table and a generator of the next test's own."""
        self._take_up_the_rest()
        self.driver.table, self.driver.pictures = Table(), self.verifier.pictures
        self.driver.randomness = self.randomness = randomness
        return self

    def _take_up_the_rest(self) -> None:
        """What a failed test left in Kafka would be the next test's."""
        if self.verifier.lag():
            self.world.intake()
            self.world.ingest()
            wait_for(lambda: not self.verifier.lag(), 120, lambda: f"a failed test's rest: {self.verifier.lag()}")
            self.world.end_processes()

    def end(self) -> None:
        self.world.end_test()

    def session(self, name: str = "session") -> str:
        """A session that no other test uses."""
        return f"{name}-{uuid.UUID(int=self.randomness.getrandbits(128))}"

    def settle(self, within: float) -> None:
        """Wait until all is consumed, then check everything that is to be checked at rest."""
        self.verifier.wait_until_settled(self.table, within, also=self.tails)
        self.verifier.check(self.table)

    def settle_and_compare(self, within: float) -> None:
        """As `settle`; then as `compare`."""
        self.settle(within)
        self.compare()

    def check_searches(self, *replicas: Process, selfie: str, within: float = 20.0) -> None:
        """Search every session on every replica, as the verifier does; then as `compare`, with their shards."""
        for replica in replicas:
            self.verifier.check_searches(replica.url, self.table, selfie=selfie, within=within)
        compared = self.compare(*replicas)
        loaded = sum(bool(self.table.people_in(session)) for session in self.table.sessions)
        assert compared >= loaded * len(replicas), f"{compared} shards compared, {loaded} searched on each replica"

    def compare(self, *replicas: Process) -> int:
        """FacePass's own `verify` must find as little as the suite's verifier; how many shards it compared."""
        ports = [f"--replica=http://127.0.0.1:{replica.control_port}" for replica in replicas]
        done = self.world.command("verify", *ports)
        assert done.returncode == 0, done.stdout + done.stderr
        found = re.search(r"compared ledger, topics and (\w+) shards?.*: no differences", done.stdout)
        assert found, done.stdout
        return 0 if found[1] == "no" else int(found[1])

    def acknowledge_deletions(self, within: float) -> None:
        """Wait as whoever deletes waits, after the deletions' commit: until no replica serves what was there."""
        as_of = self.verifier.query("SELECT clock_timestamp()")[0][0]
        replicas = [row[0] for row in self.verifier.query("SELECT replica_id FROM replicas")]

        def unserved() -> bool:
            self.verifier.execute(
                "DELETE FROM replicas WHERE applied_as_of < clock_timestamp() - make_interval(secs => %s)",
                LEASE_SECONDS + 2,
            )
            return not self.verifier.query(
                "SELECT 1 FROM replicas WHERE replica_id = ANY(%s) AND applied_as_of <= %s", replicas, as_of
            )

        wait_for(unserved, within, lambda: f"the acknowledgement\n{self.tails()}", every=0.1)

    def tails(self) -> str:
        return "\n".join(
            f"--- {process.name} ({process.status}):\n{process.tail()}" for process in self.world.processes
        )

    @contextmanager
    def watched(self, look: Callable[[], None], *, every: float = 0.5) -> Iterator[None]:
        """Run a check again and again beside the block: what must hold at all times. A failure fails the block."""
        stop, failures = threading.Event(), list[BaseException]()

        def watch() -> None:
            while not stop.wait(every) and not failures:
                try:
                    look()
                except BaseException as failure:
                    failures.append(failure)

        thread = threading.Thread(target=watch, name="watch")
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()
        if failures:
            raise failures[0]


@contextmanager
def open_scene(
    directory: Path,
    loop: LoopThread,
    pictures: Mapping[str, Picture],
    randomness: random.Random,
    reference: dict[str, Vectors],
    *,
    routes: int = 1,
) -> Iterator[Scene]:
    """A world with no process of FacePass running.

    Args:
        reference: the vectors of a run without faults; while it is empty, this world makes that run first.
    """
    with open_world(directory, loop, pictures, routes=routes) as world:
        driver = Driver(loop, world.kafka.address, pictures, randomness)
        verifier = Verifier(lambda: world.postgres.uri, world.kafka.address, loop, pictures, reference)
        scene = Scene(world, driver, verifier, randomness)
        try:
            if not reference:
                _run_cleanly(scene)
            yield scene
        finally:
            driver.close()
            verifier.close()


def _run_cleanly(scene: Scene) -> None:
    scene.world.lasting(INTAKE, INGEST)
    scene.driver.index_many([(CLEAN, name, name) for name in scene.driver.pictures])
    scene.verifier.wait_until_settled(scene.table, 120.0, also=scene.tails)
    scene.verifier.learn(CLEAN)
    scene.verifier.check(scene.table)
    scene.end()
