"""Real processes of FacePass with real servers behind proxies, started, killed, frozen and always cleaned up."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
from faults.loop_thread import LoopThread
from faults.pictures import LONGER_SIDE, Picture, put_into_directory
from faults.proxies import TcpProxy
from faults.servers import Kafka, PostgresServer, postgres_proxy
from faults.waiting import wait_for

from facepass.ops.local.children import Child, last_lines, start_child
from facepass.ops.local.ports import free_port

FACEPASS = str(Path(sys.executable).with_name("facepass"))
TRICKED = str(Path(__file__).with_name("tricked.py"))

SESSION_SECONDS = 6
LEASE_SECONDS = 5
PARTITIONS = 4
WATCHDOG_SECONDS = 15
"""Three times as much for a batch under way: longer than any hold of the suite that is to be survived."""

STARTS_WITHIN = 90.0
"""Seconds for a process to be ready on a busy machine; nothing is asserted about it."""

Trick = tuple[str, ...]
"""What happens to a process at a named point, as tricked.py takes it: (what, point, n-th pass, file of a hold)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """A process told to stand still at a point, for as long as a file is there."""

    trick: Trick
    file: Path

    def wait_until_reached(self, within: float = 60.0) -> None:
        wait_for(self.file.with_suffix(".reached").exists, within, f"{self.trick} to be reached", every=0.05)

    def let_go(self) -> None:
        self.file.unlink(missing_ok=True)


@dataclass(slots=True, kw_only=True)
class Process:
    """One process of FacePass."""

    name: str
    child: Child
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        return self.child.log.read_text(errors="replace")

    @property
    def status(self) -> int | None:
        """Exit status, negative for a signal; None while it runs."""
        return self.child.process.poll()

    def running(self) -> bool:
        return self.child.running()

    def kill(self) -> None:
        self.child.process.kill()
        self.child.process.wait()

    def freeze(self) -> None:
        self.child.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.child.process.send_signal(signal.SIGCONT)

    def terminate(self, *, within: float = 30.0) -> int:
        """SIGTERM, and its exit status."""
        self.child.process.terminate()
        return self.ended(within=within)

    def ended(self, *, within: float) -> int:
        """Wait for its end by itself."""
        try:
            return self.child.process.wait(within)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.name} still runs after {within} s; its log:\n{self.tail()}") from None

    def ready(self) -> bool:
        try:
            return httpx.get(f"{self.url}/ready", timeout=2.0).status_code == httpx.codes.OK
        except httpx.HTTPError:
            return False

    def wait_until_ready(self, within: float = STARTS_WITHIN) -> "Process":
        def look() -> bool:
            assert self.running(), f"{self.name} ended with {self.status}; its log:\n{self.tail()}"
            return self.ready()

        wait_for(look, within, lambda: f"{self.name} to be ready; its log:\n{self.tail()}")
        return self

    def tail(self) -> str:
        return last_lines(self.child.log, 30)


@dataclass(slots=True)
class World:
    """Apache Kafka, PostgreSQL, photos, and as many processes as a test wants."""

    directory: Path
    kafka: Kafka
    postgres: PostgresServer
    database_proxies: list[TcpProxy]
    settings: dict[str, str]
    processes: list[Process] = field(default_factory=list)
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

    def hold(self, point: str, passes: int = 1) -> "Hold":
        """For a process that stands still at a point until it is let go."""
        self._started += 1
        file = self.directory / f"hold-{self._started}"
        file.touch()
        return Hold(trick=("hold", point, str(passes), str(file)), file=file)

    def serve(self, *, route: int = 0, trick: Trick | None = None, **settings: str) -> Process:
        port = free_port()
        arguments = ["serve", "--host", "127.0.0.1", "--port", str(port)]
        return self._start("serve", [*_program(trick), *arguments], port, route, settings)

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
        """Kill whatever runs."""
        for process in self.processes:
            process.thaw()
            process.kill()
        self.processes.clear()

    def logs(self) -> dict[str, str]:
        return {path.name: path.read_text(errors="replace") for path in sorted(self.directory.glob("*.log"))}

    def _worker(self, command: str, trick: Trick | None, settings: Mapping[str, str]) -> Process:
        port = free_port()
        return self._start(command, [*_program(trick), command, "--metrics-port", str(port)], port, 0, settings)

    def _start(self, kind: str, command: list[str], port: int, route: int, settings: Mapping[str, str]) -> Process:
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
    settings: Mapping[str, str] | None = None,
) -> Iterator[World]:
    """Servers that run, topics and tables that are there, no process of FacePass yet; all ended at the end.

    Args:
        routes: pairs of proxies, to Kafka and to PostgreSQL.
        settings: FACEPASS_* that differ from the suite's own.
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
        world = World(directory, kafka, postgres, proxies, _settings(photos) | dict(settings or {}))
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
