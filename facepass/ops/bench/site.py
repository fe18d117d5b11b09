"""One running installation of FacePass: an embedded broker, a database, and FacePass's own processes."""

import asyncio
import os
import signal
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus

import psutil

from facepass.embedding import FaceEngine
from facepass.ops.bench.photos import PhotoSet
from facepass.ops.bench.stack import Stack
from facepass.ops.local.broker import embedded_broker
from facepass.ops.local.children import Child, last_lines, start_child, stop_children
from facepass.ops.local.ports import free_port
from facepass.schemas.errors import ErrorCode, TransientError
from facepass.schemas.events import PhotoIndexed
from facepass.schemas.ids import PhotoId, SessionId
from facepass.schemas.ledger import SessionCounts
from facepass.schemas.settings import DatabaseSettings, KafkaSettings, ModelSettings
from facepass.storage.database import Database
from facepass.storage.generations import Generation
from facepass.storage.writes import read_counts
from facepass.streams.topics import create_topics

HOST = "127.0.0.1"

_POLL_SECONDS = 0.05
"""How often the ledger is asked whether all rows are there; what is measured so takes seconds."""

_START_SECONDS = 120.0
"""How long a process may take until it is ready; the first one may have to compile the networks."""

_STOP_SECONDS = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """Attributes:
    stack: where logs go.
    engine, model: this process's own engine, and the settings that every process makes its own from.
    """

    stack: Stack
    database: DatabaseSettings
    kafka: KafkaSettings
    model: ModelSettings
    engine: FaceEngine
    photos: PhotoSet

    def environment(self) -> dict[str, str]:
        """The whole environment of its processes: of the shell's own settings only the model's count."""
        own = {name: value for name, value in os.environ.items() if not name.startswith("FACEPASS_")}
        for group in (self.kafka, self.model):
            values = {name: getattr(group, name) for name in type(group).model_fields}
            own |= {f"FACEPASS_{name.upper()}": str(value) for name, value in values.items() if value is not None}
        own["FACEPASS_DATABASE"] = self.database.database.get_secret_value()
        own["FACEPASS_PHOTOS"] = str(self.photos.directory)
        own["FACEPASS_LOG_LEVEL"] = "warning"
        return own

    def events(self, session_id: SessionId, count: int) -> Sequence[PhotoIndexed]:
        """`count` new photos of a session; the directory's files are taken in turn."""
        names = self.photos.names
        return [
            PhotoIndexed(
                session_id=session_id,
                photo_id=PhotoId(f"{number:06d}"),
                s3_key=names[number % len(names)],
                occurred_at=datetime.now(UTC),
            )
            for number in range(count)
        ]


@contextmanager
def open_site(
    stack: Stack, name: str, engine: FaceEngine, model: ModelSettings, photos: PhotoSet
) -> Iterator[Site]:
    """A broker with all topics and an empty database `name`; no process of FacePass runs yet."""
    database = stack.new_database(name)
    log = stack.directory / f"{name}-broker.log"
    with embedded_broker(HOST, free_port(HOST), log=log) as address:
        kafka = KafkaSettings(kafka=address, kafka_idempotence=False, session_timeout_seconds=6.0)
        asyncio.run(create_topics(kafka))
        yield Site(stack=stack, database=database, kafka=kafka, model=model, engine=engine, photos=photos)


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """A process of FacePass's own. `port` serves HTTP: the API, or metrics and health."""

    child: Child
    process: psutil.Process
    port: int

    def cpu_seconds(self) -> float:
        """Processor time that it has used so far, user and system, all threads."""
        return cpu_seconds(self.process)

    def check(self) -> None:
        """Raise `internal`, with the end of its log, when it has ended."""
        if not self.child.running():
            raise _not_well(self.child, "ended")


@contextmanager
def running(site: Site, command: str) -> Iterator[Service]:
    """Run `facepass COMMAND` until the context ends; begins when it says that it is ready.

    Raises:
        TransientError: `internal`: it ended, or was not ready in time; with the end of its log.
    """
    port = free_port(HOST)
    options = ["--host", HOST, "--port", str(port)] if command == "serve" else ["--metrics-port", str(port)]
    log = site.stack.directory / f"{command}.log"
    arguments = [sys.executable, "-m", "facepass.ops.cli", command, *options]
    child = start_child(command, arguments, log=log, env=site.environment())
    try:
        service = Service(child=child, process=psutil.Process(child.process.pid), port=port)
        deadline = time.monotonic() + _START_SECONDS
        while not _ready(port):
            service.check()
            if time.monotonic() > deadline:
                raise _not_well(child, "is not ready")
            time.sleep(0.1)
        yield service
    finally:
        stop_children([child], patience=_STOP_SECONDS, stop_signal=signal.SIGTERM)


def _not_well(child: Child, what: str) -> TransientError:
    return TransientError(
        ErrorCode.INTERNAL, f"facepass {child.name} {what}; the end of its log:\n{last_lines(child.log)}"
    )


def _ready(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://{HOST}:{port}/ready", timeout=5.0) as response:
            return bool(response.status == HTTPStatus.OK)
    except (urllib.error.URLError, OSError):
        return False


def cpu_seconds(process: psutil.Process) -> float:
    """Processor time that a process has used so far, user and system, all threads."""
    times = process.cpu_times()
    return float(times.user + times.system)


async def wait_until_settled(
    db: Database, generation: Generation, service: Service, session_id: SessionId, photos: int
) -> SessionCounts:
    """Wait until so many photos of the session have a row that is not pending; return the ledger then.

    Raises:
        TransientError: `internal`: the process that is to settle them has ended.
    """
    while True:
        service.check()
        counts = await read_counts(db, generation, session_id)
        if counts.present - counts.pending >= photos:
            return counts
        await asyncio.sleep(_POLL_SECONDS)
