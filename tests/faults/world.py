"""Real processes of FacePass with real servers behind proxies, started, killed, frozen and always cleaned up."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from faults.loop_thread import LoopThread
from faults.pictures import LONGER_SIDE, Picture, put_into_directory
from faults.processes import Hold, Process, Trick, Wanted, end_all
from faults.proxies import TcpProxy
from faults.servers import Kafka, PostgresServer, postgres_proxy

from facepass.local.children import start_child
from facepass.local.ports import free_port

FACEPASS = str(Path(sys.executable).with_name("facepass"))
TRICKED = str(Path(__file__).with_name("tricked.py"))

SESSION_SECONDS = 6
LEASE_SECONDS = 5
PARTITIONS = 4
WATCHDOG_SECONDS = 15
"""Three times as much for a batch under way: longer than any hold of the suite that is to be survived."""


@dataclass(slots=True)
class World:
    """Apache Kafka, PostgreSQL, photos, and as many processes as a test wants."""

    directory: Path
    kafka: Kafka
    postgres: PostgresServer
    database_proxies: list[TcpProxy]
    settings: dict[str, str]
    processes: list[Process] = field(default_factory=list)
    _left: list[Process] = field(default_factory=list)
    _started: int = 0

    def environment(self, *, route: int = 0, more: Mapping[str, str] | None = None) -> dict[str, str]:
        """The whole environment of a process; `route` says through which pair of proxies it goes."""
        kept = {
            name: os.environ[name]
            for name in ("PATH", "HOME", "PYTHONPATH", "XDG_CACHE_HOME")
            if name in os.environ
        }
        return {
            **kept,
            "TMPDIR": str(self.directory / "tmp"),
            "PYTHONFAULTHANDLER": "1",
            **self.settings,
            "FACEPASS_KAFKA": f"127.0.0.1:{self.kafka.proxies[route].port}",
            "FACEPASS_DATABASE": self.database_uri(route),
            **(more or {}),
        }

    def database_uri(self, route: int = 0) -> str:
        return f"postgresql://facepass@127.0.0.1:{self.database_proxies[route].port}/facepass"

    def intake(self, *, trick: Trick | None = None, **settings: str) -> Process:
        return self._worker("intake", trick, settings)

    def ingest(
        self, *, trick: Trick | None = None, more: Mapping[str, str] | None = None, **settings: str
    ) -> Process:
        return self._worker("ingest", trick, {**(more or {}), **settings})

    def hold(self, point: str, passes: int = 1) -> Hold:
        """For a process that stands still at a point until it is let go."""
        self._started += 1
        file = self.directory / f"hold-{self._started}"
        file.touch()
        return Hold(trick=("hold", point, str(passes), str(file)), file=file)

    def serve(self, *, route: int = 0, trick: Trick | None = None, **settings: str) -> Process:
        port, control_port = free_port(), free_port()
        arguments = ["serve", "--host", "127.0.0.1", "--port", str(port), "--control-port", str(control_port)]
        process = self._start("serve", [*_program(trick), *arguments], port, route, settings)
        process.control_port = control_port
        return process

    def lasting(self, *all_wanted: Wanted) -> list[Process]:
        """Processes that are ready, and may outlast the test: those of the test before go on where they are such.

        Call it before anything else is started.
        """
        found = []
        for wanted in all_wanted:
            process = next((one for one in self._left if one.wanted == wanted), None)
            if process is not None:
                self._left.remove(process)
                self.processes.append(process)
            found.append((wanted, process))
        self._end_left()
        processes = [process or self._start_wanted(wanted) for wanted, process in found]
        return [process.wait_until_ready() for process in processes]

    def _start_wanted(self, wanted: Wanted) -> Process:
        if wanted.kind == "serve":
            process = self.serve(route=wanted.route, **wanted.settings)
        else:
            process = self._worker(wanted.kind, None, wanted.settings)
        process.wanted = wanted
        return process

    def end_test(self) -> None:
        """End what runs, but for what the next test may want and what is well."""
        self._left = [process for process in self.processes if process.wanted and process.ready()]
        end_all(process for process in self.processes if process not in self._left)
        self.processes.clear()

    def _end_left(self) -> None:
        end_all(self._left)
        self._left.clear()

    def command(self, *arguments: str, within: float = 120.0) -> "subprocess.CompletedProcess[str]":
        """Run a command of FacePass to its end."""
        return subprocess.run(
            [FACEPASS, *arguments],
            env=self.environment(),
            capture_output=True,
            text=True,
            timeout=within,
            check=False,
        )

    def end_processes(self) -> None:
        """End whatever runs."""
        end_all([*self.processes, *self._left])
        self.processes.clear()
        self._left.clear()

    def _worker(self, command: str, trick: Trick | None, settings: Mapping[str, str]) -> Process:
        port = free_port()
        return self._start(command, [*_program(trick), command, "--metrics-port", str(port)], port, 0, settings)

    def _start(self, kind: str, command: list[str], port: int, route: int, settings: Mapping[str, str]) -> Process:
        self._end_left()  # what the test before left and this one does not want
        self._started += 1
        name = f"{kind}-{self._started}"
        child = start_child(
            name,
            command,
            log=self.directory / f"{name}.log",
            env=self.environment(route=route, more=settings),
            death_signal=signal.SIGKILL,
        )
        self.processes.append(process := Process(name=name, child=child, port=port))
        return process


def _program(trick: Trick | None) -> list[str]:
    return [FACEPASS] if trick is None else [sys.executable, TRICKED, *trick, "--"]


@contextmanager
def open_world(
    directory: Path,
    loop: LoopThread,
    pictures: Mapping[str, Picture],
    *,
    routes: int = 1,
) -> Iterator[World]:
    """Servers that run, topics and tables that are there, no process of FacePass yet; all ended at the end.

    Args:
        routes: pairs of proxies, to Kafka and to PostgreSQL.
    """
    (directory / "tmp").mkdir(parents=True)
    photos = directory / "photos"
    put_into_directory(dict(pictures), photos)
    postgres = PostgresServer(directory / "pg")
    kafka = Kafka(directory / "kafka", loop, proxies=routes)
    proxies: list[TcpProxy] = []
    world: World | None = None
    try:
        postgres.start()
        kafka.broker.start()
        proxies += [postgres_proxy(loop, postgres) for _ in range(routes)]
        world = World(directory, kafka, postgres, proxies, _settings(photos))
        for arguments in (["migrate"], ["topics", "create"]):
            done = world.command(*arguments)
            assert done.returncode == 0, f"facepass {' '.join(arguments)}: {done.stderr}"
        yield world
    finally:
        if world is not None:
            world.end_processes()
        kafka.close()
        for proxy in proxies:
            proxy.close()
        postgres.stop()


def _settings(photos: Path) -> dict[str, str]:
    return {
        "FACEPASS_PHOTOS": str(photos),
        "FACEPASS_DETECTION_SIZE": str(LONGER_SIDE),
        "FACEPASS_SESSION_TIMEOUT_SECONDS": str(SESSION_SECONDS),
        "FACEPASS_LEASE_SECONDS": str(LEASE_SECONDS),
        "FACEPASS_TOPIC_PARTITIONS": str(PARTITIONS),
        "FACEPASS_SWEEP_SECONDS": "1",
        "FACEPASS_WATCHDOG_SECONDS": str(WATCHDOG_SECONDS),
        "FACEPASS_BATCH_PHOTOS": "16",
        "FACEPASS_THREADS": "1",
        "FACEPASS_LOG_FORMAT": "json",
    }
