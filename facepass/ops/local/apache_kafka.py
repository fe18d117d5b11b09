"""Apache Kafka 4 on this machine: one KRaft node, its jars named by a Maven project file, run by Java 17 or newer.

For tests and for `facepass dev --kafka apache`. Its log directory outlives the process, so a killed broker starts
again with what it had.
"""

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

from facepass.ops.local.broker import answers
from facepass.ops.local.children import Child, last_lines, start_child, stop_children
from facepass.ops.local.ports import free_port
from facepass.schemas.errors import ErrorCode, PermanentError, TransientError

JAVA_MAJOR = 17
"""The oldest Java that Apache Kafka 4's broker runs on (its upgrade notes)."""

_PROJECT = Path(__file__).with_name("kafka")
_VERSION = re.compile(r'version "(\d+)')

_PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller_port}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}{more_listeners}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}{more_advertised}
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT{more_protocols}
log.dirs={log_dir}
auto.create.topics.enable=false
num.io.threads=2
num.network.threads=2
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
# A single worker need not wait for others to join its group.
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
# A restarted broker waits until the session of its killed predecessor has expired: 12 s by default.
broker.session.timeout.ms=2000
broker.heartbeat.interval.ms=500
# So that retention can be watched within a test.
log.retention.check.interval.ms=2000
log.segment.delete.delay.ms=500
log.initial.task.delay.ms=1000
"""


def missing_for_apache_kafka() -> str | None:
    """What must be installed before Apache Kafka can run here; None when nothing is missing."""
    java = shutil.which("java")
    if java is None:
        return f"Java {JAVA_MAJOR} or newer is not installed (Debian: openjdk-17-jre-headless)"
    text = subprocess.run([java, "-version"], capture_output=True, text=True, check=False).stderr
    found = _VERSION.search(text)
    if found is None or int(found[1]) < JAVA_MAJOR:
        return f"Apache Kafka needs Java {JAVA_MAJOR} or newer (Debian: openjdk-17-jre-headless)"
    if shutil.which("mvn") is None and not (default_jar_cache() / "complete").exists():
        return "Maven is not installed (Debian: maven)"
    return None


def default_jar_cache() -> Path:
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return root / "facepass" / "apache-kafka-4.3.0"


def fetch_jars(cache: Path | None = None) -> Path:
    """Copy the jars into `cache` by Maven, unless they are there already.

    Raises:
        PermanentError: `broker_unavailable`: Maven is missing or fails.
    """
    cache = cache or default_jar_cache()
    if (cache / "complete").exists():
        return cache
    maven = shutil.which("mvn")
    if maven is None:
        raise PermanentError(ErrorCode.BROKER_UNAVAILABLE, "Maven is not installed (Debian: maven)")
    command = [maven, "-q", "-B", "-f", str(_PROJECT / "pom.xml"), "dependency:copy-dependencies"]
    command += [f"-DoutputDirectory={cache}", "-DincludeScope=runtime"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        raise PermanentError(ErrorCode.BROKER_UNAVAILABLE, f"Maven failed: {result.stdout.strip()[-2000:]}")
    (cache / "complete").touch()
    return cache


@dataclass(slots=True, kw_only=True)
class ApacheKafka:
    """A broker that can be stopped, killed, frozen and started again on the same directory and port.

    Attributes:
        more_ports: further ports it listens on, each with the port that it tells clients to use instead: a client
            that comes through a proxy must not be told the way around it.
    """

    directory: Path
    port: int
    jars: Path
    more_ports: Mapping[int, int] = field(default_factory=dict)
    _child: Child | None = field(default=None, init=False)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def log(self) -> Path:
        return self.directory / "kafka.log"

    def start(self, *, patience: float = 60.0) -> None:
        """Start the broker and wait until it answers; on a directory of its own or one that it left.

        Raises:
            PermanentError, TransientError: `broker_unavailable`, with the end of its log.
        """
        properties = self.directory / "server.properties"
        if not properties.exists():
            self._format(properties)
        self._child = start_child(
            "kafka", self._java("kafka.Kafka", str(properties)), log=self.log, death_signal=signal.SIGKILL
        )
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline:
            if not self._child.running():
                raise PermanentError(
                    ErrorCode.BROKER_UNAVAILABLE,
                    f"Apache Kafka did not start; the end of {self.log}:\n{last_lines(self.log)}",
                )
            if answers("127.0.0.1", self.port):
                return
            time.sleep(0.1)
        raise TransientError(
            ErrorCode.BROKER_UNAVAILABLE,
            f"Apache Kafka did not answer within {patience:.0f} s; the end of {self.log}:\n{last_lines(self.log)}",
        )

    def stop(self) -> None:
        """Stop it in order (SIGTERM), or kill it when that takes too long."""
        if self._child is not None:
            self.thaw()
            stop_children([self._child], patience=20.0)

    def kill(self) -> None:
        """SIGKILL: as a power cut, but for the operating system's buffers."""
        self._signal(signal.SIGKILL)
        if self._child is not None:
            self._child.process.wait()

    def freeze(self) -> None:
        """SIGSTOP: connections stay open and nothing answers."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let a frozen broker go on."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        if self._child is not None and self._child.running():
            self._child.process.send_signal(number)

    def _format(self, properties: Path) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        numbered = list(enumerate(self.more_ports.items(), start=1))
        text = _PROPERTIES.format(
            port=self.port,
            controller_port=free_port(),
            log_dir=self.directory.resolve() / "log",
            more_listeners="".join(f",PROXIED{n}://127.0.0.1:{port}" for n, (port, _) in numbered),
            more_advertised="".join(f",PROXIED{n}://127.0.0.1:{told}" for n, (_, told) in numbered),
            more_protocols="".join(f",PROXIED{n}:PLAINTEXT" for n, _ in numbered),
        )
        temporary = properties.with_suffix(".new")
        temporary.write_text(text)
        cluster = urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        # As one word: an id may begin with a hyphen.
        command = self._java("kafka.tools.StorageTool", "format", f"--cluster-id={cluster}", "-c", str(temporary))
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        if result.returncode:
            raise PermanentError(
                ErrorCode.BROKER_UNAVAILABLE, f"Kafka's storage format failed: {result.stderr.strip()[-2000:]}"
            )
        temporary.rename(properties)

    def _java(self, main: str, *arguments: str) -> list[str]:
        log_settings = f"-Dlog4j2.configurationFile={_PROJECT / 'log4j2.properties'}"
        # Large heaps buy one small node nothing: Kafka's data is in the page cache.
        return ["java", "-Xmx512m", "-XX:+UseSerialGC", log_settings, "-cp", f"{self.jars}/*", main, *arguments]


@contextmanager
def apache_kafka(directory: Path, *, port: int | None = None) -> Iterator[ApacheKafka]:
    """Run Apache Kafka on `directory` for the time of the context.

    Raises:
        PermanentError: `broker_unavailable`, saying what to install.
    """
    if missing := missing_for_apache_kafka():
        raise PermanentError(ErrorCode.BROKER_UNAVAILABLE, missing)
    broker = ApacheKafka(directory=directory, port=port or free_port(), jars=fetch_jars())
    broker.start()
    try:
        yield broker
    finally:
        broker.stop()
