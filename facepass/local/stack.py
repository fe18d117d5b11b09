"""All of FacePass on this machine: embedded PostgreSQL, a broker, and the three processes as in production."""

import asyncio
import fcntl
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
from pydantic import SecretStr

from facepass.local.children import Child, last_lines, start_child, stop_children
from facepass.local.kafka_kinds import KafkaKind, check_kind, local_kafka
from facepass.local.ports import bracketed, check_port, free_port, reachable
from facepass.local.postgres import embedded_postgres
from facepass.schemas.errors import ErrorCode, PermanentError, TransientError
from facepass.schemas.settings import DatabaseSettings, KafkaSettings
from facepass.storage.migrations import migrate
from facepass.streams.kafka import create_topics

_START_PATIENCE_SECONDS = 180.0
_STOP_PATIENCE_SECONDS = 15.0
"""More than what the workers allow themselves to finish their batches."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StackOptions:
    """The places where everything listens and lies.

    Attributes:
        host: of the HTTP API and of the broker.
        data_dir: gets PostgreSQL's data (`postgres/`), Apache Kafka's (`kafka/`) and everyone's logs (`logs/`).
        photos: as FACEPASS_PHOTOS: a directory or s3://bucket/prefix.
        kind: the broker.
        settings: further ones for all processes, as environment variables.
    """

    host: str
    port: int
    kafka_port: int
    data_dir: Path
    photos: str
    kind: KafkaKind = KafkaKind.EMBEDDED
    settings: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stack:
    """The running parts: where they are, and every process that must not end by itself.

    Attributes:
        control: address of serve's control port, for `facepass verify --replica`.
        environment: of its processes, for one more of them.
    """

    http: str
    control: str
    kafka: KafkaSettings
    database: DatabaseSettings
    environment: Mapping[str, str]
    logs: Path
    children: tuple[Child, ...]

    def check(self) -> None:
        """Raise PermanentError (`internal`) when one of the processes has ended."""
        for child in self.children:
            if not child.running():
                raise PermanentError(
                    ErrorCode.INTERNAL,
                    f"{child.name} ended with status {child.process.returncode}; the end of {child.log}:\n"
                    f"{last_lines(child.log)}",
                )


@contextmanager
def local_stack(options: StackOptions, *, report: Callable[[str], None]) -> Iterator[Stack]:
    """Run everything for the time of the context; ready when it is entered.

    Args:
        report: told what is being started, in order, and at the end what had to be killed; a few words each.

    Raises:
        PermanentError: `invalid_setting` (port or data directory in use, no such photo directory), or a part that
            refuses to start, with the end of its log.
        TransientError: a part that did not get ready in time.
    """
    _check(options)
    with _only_user(options.data_dir), ExitStack() as stack:
        yield _start(stack, options, report)


def _start(stack: ExitStack, options: StackOptions, report: Callable[[str], None]) -> Stack:
    logs = options.data_dir / "logs"
    database, kafka, children = _start_stores(stack, options, logs, report)
    report("starting intake, ingest, serve")
    ports = {"intake": free_port(), "ingest": free_port(), "control": free_port()}
    photos = options.photos if options.photos.startswith("s3://") else str(Path(options.photos).resolve())
    environment = process_environment(database, kafka, photos=photos, settings=options.settings)
    children += stack.enter_context(_processes(options, ports, logs, environment, report))
    running = Stack(
        http=f"http://{bracketed(options.host)}:{options.port}",
        control=f"http://127.0.0.1:{ports['control']}",
        kafka=kafka,
        database=database,
        environment=environment,
        logs=logs,
        children=tuple(children),
    )
    http = f"http://{bracketed(reachable(options.host))}:{options.port}"
    probes = {name: f"http://127.0.0.1:{ports[name]}" for name in ("intake", "ingest")} | {"serve": http}
    _wait_until_ready(running, probes)
    return running


def _start_stores(
    stack: ExitStack, options: StackOptions, logs: Path, report: Callable[[str], None]
) -> tuple[DatabaseSettings, KafkaSettings, list[Child]]:
    children: list[Child] = []
    report("starting PostgreSQL")
    uri = stack.enter_context(
        embedded_postgres(options.data_dir / "postgres", log=logs / "postgres.log", started=children.append)
    )
    database = DatabaseSettings(database=SecretStr(uri))
    migrate(database)
    kafka = stack.enter_context(
        local_kafka(
            options.kind,
            options.host,
            options.kafka_port,
            directory=options.data_dir / "kafka",
            logs=logs,
            report=report,
            started=children.append,
        )
    )
    asyncio.run(create_topics(kafka))
    return database, kafka, children


@contextmanager
def _processes(
    options: StackOptions,
    ports: Mapping[str, int],
    logs: Path,
    environment: Mapping[str, str],
    report: Callable[[str], None],
) -> Iterator[list[Child]]:
    arguments = {name: ["--metrics-port", str(ports[name])] for name in ("intake", "ingest")}
    arguments["serve"] = ["--host", options.host, "--port", str(options.port)]
    arguments["serve"] += ["--control-port", str(ports["control"])]
    children: list[Child] = []
    try:
        for name, rest in arguments.items():
            # Goes on in a process of its own, at the command of that name in facepass/cli.
            program = [sys.executable, "-m", "facepass", name, *rest]
            children.append(start_child(name, program, log=logs / f"{name}.log", env=environment))
        yield children
    finally:
        for name in stop_children(children, patience=_STOP_PATIENCE_SECONDS):
            report(f"{name} did not stop and was killed; its log: {logs / name}.log")


def process_environment(
    database: DatabaseSettings, kafka: KafkaSettings, *, photos: str, settings: Mapping[str, str]
) -> dict[str, str]:
    """The environment of a process of FacePass that works on these stores.

    Args:
        photos: as FACEPASS_PHOTOS, a directory by its absolute path.
        settings: further ones, as environment variables.
    """
    return {
        **os.environ,
        **settings,
        "FACEPASS_DATABASE": database.database.get_secret_value(),
        "FACEPASS_KAFKA": kafka.kafka,
        "FACEPASS_KAFKA_IDEMPOTENCE": str(kafka.kafka_idempotence).lower(),
        "FACEPASS_SESSION_TIMEOUT_SECONDS": str(kafka.session_timeout_seconds),
        "FACEPASS_PHOTOS": photos,
        "PYTHONUNBUFFERED": "1",
    }


def _wait_until_ready(stack: Stack, probes: Mapping[str, str]) -> None:
    waiting, reason = dict(probes), "no answer yet"
    deadline = time.monotonic() + _START_PATIENCE_SECONDS
    # No proxy from the environment: these are addresses of this machine.
    with httpx.Client(trust_env=False, timeout=3.0) as client:
        while waiting:
            stack.check()
            for name, url in list(waiting.items()):
                try:
                    answer = client.get(f"{url}/ready")
                except httpx.TransportError:
                    continue
                if answer.is_success:
                    del waiting[name]
                else:
                    reason = answer.text
            if waiting and time.monotonic() > deadline:
                raise TransientError(
                    ErrorCode.INTERNAL,
                    f"{', '.join(waiting)} not ready after {_START_PATIENCE_SECONDS:.0f} s ({reason});"
                    f" logs: {stack.logs}",
                )
            time.sleep(0.1)


def _check(options: StackOptions) -> None:
    if not options.photos.startswith("s3://") and not Path(options.photos).is_dir():
        raise PermanentError(
            ErrorCode.INVALID_SETTING, f"--photos: there is no directory {options.photos}", setting="--photos"
        )
    check_kind(options.kind, "--kafka")
    check_port(options.host, options.port, "--port")
    check_port(options.host, options.kafka_port, "--kafka-port")
    if options.port == options.kafka_port:
        raise PermanentError(
            ErrorCode.INVALID_SETTING, "--port and --kafka-port must differ", setting="--kafka-port"
        )


@contextmanager
def _only_user(data_dir: Path) -> Iterator[None]:
    """Hold the data directory for this process alone; the lock ends with the process."""
    data_dir.mkdir(parents=True, exist_ok=True)
    with (data_dir / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            raise PermanentError(
                ErrorCode.INVALID_SETTING,
                f"--data-dir: another FacePass is running on {data_dir}: stop it, or name another directory",
                setting="--data-dir",
            ) from exc
        yield
