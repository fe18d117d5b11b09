"""Apache Kafka 4 on this machine: one KRaft node, its jars named by a Maven project file, run by Java 17 or newer.

For tests and for `facepass dev --kafka apache`. Its log directory outlives the process, so a broker that was
stopped or killed starts again with what it had, on another port too.
"""

import fcntl
import os
import re
import shutil
import signal
import subprocess
import time
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from facepass.local.broker import answers
from facepass.local.children import Child, last_lines, run_child, start_child, stop_children
from facepass.local.ports import bracketed, free_port, reachable
from facepass.schemas.errors import ErrorCode, PermanentError, TransientError

VERSION = "4.3.0"
"""As in the Maven project file."""

JAVA_MAJOR = 17
"""The oldest Java that Apache Kafka 4's broker runs on (its upgrade notes)."""

_PROJECT = Path(__file__).with_name("kafka")
_JAVA_VERSION = re.compile(r'version "(\d+)')

SETTINGS = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "controller.listener.names": "CONTROLLER",
    "auto.create.topics.enable": "false",
    "num.io.threads": "2",
    "num.network.threads": "2",
    "offsets.topic.replication.factor": "1",
    "offsets.topic.num.partitions": "4",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    # A single worker need not wait for others to join its group.
    "group.initial.rebalance.delay.ms": "0",
    "group.min.session.timeout.ms": "1000",
    # A restarted broker waits until the session of its killed predecessor has expired: 12 s by default.
    "broker.session.timeout.ms": "2000",
    "broker.heartbeat.interval.ms": "500",
    # So that retention can be watched within a test.
    "log.retention.check.interval.ms": "2000",
    "log.segment.delete.delay.ms": "500",
    "log.initial.task.delay.ms": "1000",
}
"""Of one small node, wherever it runs. Listeners and log directory are each broker's own."""


def missing_for_apache_kafka() -> str | None:
    """The thing to install before Apache Kafka can run here; None when nothing is missing."""
    java = shutil.which("java")
    if java is None:
        return f"Java {JAVA_MAJOR} or newer is not installed (Debian: openjdk-17-jre-headless)"
    text = subprocess.run([java, "-version"], capture_output=True, text=True, check=False).stderr
    found = _JAVA_VERSION.search(text)
    if found is None or int(found[1]) < JAVA_MAJOR:
        return f"Apache Kafka needs Java {JAVA_MAJOR} or newer (Debian: openjdk-17-jre-headless)"
    if shutil.which("mvn") is None and not jars_are_there():
        return "Maven is not installed (Debian: maven)"
    return None


def default_jar_cache() -> Path:
    """The directory where the jars are kept for all uses of this version."""
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return root / "facepass" / f"apache-kafka-{VERSION}"


def jars_are_there(cache: Path | None = None) -> bool:
    """True if an earlier `fetch_jars` has finished."""
    return ((cache or default_jar_cache()) / "complete").exists()


def fetch_jars(cache: Path | None = None) -> Path:
    """Copy the jars into `cache` by Maven, unless they are there already; one process at a time does it.

    Raises:
        PermanentError: `broker_unavailable`: Maven is missing or fails.
    """
    cache = cache or default_jar_cache()
    if jars_are_there(cache):
        return cache
    maven = shutil.which("mvn")
    if maven is None:
        raise PermanentError(ErrorCode.BROKER_UNAVAILABLE, "Maven is not installed (Debian: maven)")
    cache.mkdir(parents=True, exist_ok=True)
    command = [maven, "-q", "-B", "-f", str(_PROJECT / "pom.xml"), "dependency:copy-dependencies"]
    command += [f"-DoutputDirectory={cache}", "-DincludeScope=runtime"]
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not jars_are_there(cache):
            log = cache / "maven.log"
            if run_child(command, log=log):
                raise PermanentError(
                    ErrorCode.BROKER_UNAVAILABLE, f"Maven failed; the end of {log}:\n{last_lines(log)}"
                )
            (cache / "complete").touch()
    return cache


@dataclass(slots=True, kw_only=True)
class ApacheKafka:
    """A broker that can be stopped, killed, frozen and started again on the same directory.

    Attributes:
        directory: its settings and its topics.
        host, port: where it listens.
        more_ports: further ports it listens on, each with the port that it tells clients to use instead: a client
            that comes through a proxy must not be told the way around it.
        logs: where its log file lies; default: in `directory`.
    """

    directory: Path
    port: int
    jars: Path
    host: str = "127.0.0.1"
    more_ports: Mapping[int, int] = field(default_factory=dict)
    logs: Path | None = None
    child: Child | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self.directory = self.directory.resolve()

    @property
    def log(self) -> Path:
        """The file that its output goes to."""
        return (self.logs or self.directory) / "kafka.log"

    @property
    def address(self) -> str:
        """The address for clients on this machine."""
        return f"{bracketed(reachable(self.host))}:{self.port}"

    def start(self, *, patience: float = 120.0) -> None:
        """Start the broker and wait until it answers; on a directory of its own or one that it left.

        Raises:
            PermanentError, TransientError: `broker_unavailable`, with the end of its log.
        """
        self.directory.mkdir(parents=True, exist_ok=True)
        properties = self._write_properties()
        if not self._formatted.exists():
            self._format(properties)
        command = self._java("kafka.Kafka", str(properties))
        self.child = start_child("kafka", command, log=self.log, cwd=self.directory, death_signal=signal.SIGKILL)
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline:
            if not self.child.running():
                raise PermanentError(
                    ErrorCode.BROKER_UNAVAILABLE,
                    f"Apache Kafka did not start; the end of {self.log}:\n{last_lines(self.log)}",
                )
            if answers(reachable(self.host), self.port):
                return
            time.sleep(0.1)
        raise TransientError(
            ErrorCode.BROKER_UNAVAILABLE,
            f"Apache Kafka did not answer within {patience:.0f} s; the end of {self.log}:\n{last_lines(self.log)}",
        )

    def stop(self) -> None:
        """Stop it in order (SIGTERM), or kill it when that takes too long."""
        if self.child is not None:
            self.thaw()
            stop_children([self.child], patience=20.0)

    def kill(self) -> None:
        """Kill it by SIGKILL: as a power cut, but for the operating system's buffers."""
        self._signal(signal.SIGKILL)
        if self.child is not None:
            self.child.process.wait()

    def freeze(self) -> None:
        """Freeze it by SIGSTOP: connections stay open and nothing answers."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let a frozen broker go on."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        if self.child is not None and self.child.running():
            self.child.process.send_signal(number)

    @property
    def _topics(self) -> Path:
        return self.directory / "log"

    @property
    def _formatted(self) -> Path:
        """A mark that says that `_topics` is a whole log directory and not one whose making was cut short."""
        return self.directory / "formatted"

    def _write_properties(self) -> Path:
        """Write the settings anew for each start: the ports may be others than last time."""
        proxied = {f"PROXIED{n}": ports for n, ports in enumerate(self.more_ports.items(), start=1)}
        controller_port = free_port()
        own = {
            "controller.quorum.voters": f"1@127.0.0.1:{controller_port}",
            "listeners": ",".join(
                [
                    f"PLAINTEXT://{bracketed(self.host)}:{self.port}",
                    f"CONTROLLER://127.0.0.1:{controller_port}",
                    *(f"{name}://127.0.0.1:{port}" for name, (port, _) in proxied.items()),
                ]
            ),
            "advertised.listeners": ",".join(
                [
                    f"PLAINTEXT://{self.address}",
                    *(f"{name}://127.0.0.1:{told}" for name, (_, told) in proxied.items()),
                ]
            ),
            "listener.security.protocol.map": ",".join(
                f"{name}:PLAINTEXT" for name in ("PLAINTEXT", "CONTROLLER", *proxied)
            ),
            "log.dirs": str(self._topics),
        }
        properties = self.directory / "server.properties"
        properties.write_text("".join(f"{name}={value}\n" for name, value in (SETTINGS | own).items()))
        return properties

    def _format(self, properties: Path) -> None:
        shutil.rmtree(self._topics, ignore_errors=True)
        cluster = urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        # As one word: an id may begin with a hyphen.
        arguments = ("format", f"--cluster-id={cluster}", "-c", str(properties))
        if run_child(self._java("kafka.tools.StorageTool", *arguments), log=self.log):
            raise PermanentError(
                ErrorCode.BROKER_UNAVAILABLE,
                f"Kafka's storage format failed; the end of {self.log}:\n{last_lines(self.log)}",
            )
        self._formatted.touch()

    def _java(self, main: str, *arguments: str) -> list[str]:
        log_settings = f"-Dlog4j2.configurationFile={_PROJECT / 'log4j2.properties'}"
        # Large heaps buy one small node nothing: Kafka's data is in the page cache.
        return ["java", "-Xmx512m", "-XX:+UseSerialGC", log_settings, "-cp", f"{self.jars}/*", main, *arguments]


@contextmanager
def apache_kafka(
    directory: Path, *, host: str = "127.0.0.1", port: int | None = None, logs: Path | None = None
) -> Iterator[ApacheKafka]:
    """Run Apache Kafka on `directory` for the time of the context.

    Raises:
        PermanentError: `broker_unavailable`, saying what to install.
    """
    if missing := missing_for_apache_kafka():
        raise PermanentError(ErrorCode.BROKER_UNAVAILABLE, missing)
    broker = ApacheKafka(directory=directory, host=host, port=port or free_port(), jars=fetch_jars(), logs=logs)
    try:
        broker.start()
        yield broker
    finally:
        broker.stop()
