"""A running installation of FacePass to measure: the same processes with embedded parts as `facepass dev` runs."""

import asyncio
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import psutil

from bench.photo_sets import PhotoSet
from facepass.embedding import FaceEngine
from facepass.local import KafkaKind, Stack, StackOptions, free_port, local_stack
from facepass.schemas.events import PhotoIndexed
from facepass.schemas.ids import PhotoId, SessionId
from facepass.schemas.ledger import SessionCounts
from facepass.schemas.settings import ModelSettings
from facepass.storage import Store
from facepass.storage.reads import read_counts

HOST = "127.0.0.1"

_NO_LIMITS = {"FACEPASS_LIMIT_SEARCH": "off", "FACEPASS_LIMIT_INDEX": "off"}
"""One client asks for all."""

_POLL_SECONDS = 0.05
"""How often the ledger is asked whether all rows are there; what is measured so takes seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """A running installation, with what a measurement needs of it.

    Attributes:
        stack: the running processes.
        kafka: which broker they share.
        port: of the HTTP API.
        api_key: with every scope.
        directory: for files that a measurement needs; removed at the end.
        model, engine: the settings that every process makes its engine from, and this process's own.
    """

    stack: Stack
    kafka: KafkaKind
    port: int
    api_key: str = field(repr=False)
    directory: Path
    model: ModelSettings
    engine: FaceEngine
    photos: PhotoSet

    def ingest_process(self) -> psutil.Process:
        """The process that analyses photos."""
        return next(psutil.Process(child.process.pid) for child in self.stack.children if child.name == "ingest")

    def events(self, session_id: SessionId, count: int) -> Sequence[PhotoIndexed]:
        """The events of `count` new photos of a session; the directory's files are taken in turn."""
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

    async def settled(self, store: Store, session_id: SessionId, photos: int) -> SessionCounts:
        """The ledger once so many photos of the session have a row that is not pending; waits for that.

        Raises:
            PermanentError: `internal`: a process of the installation has ended.
        """
        while True:
            self.stack.check()
            counts = await read_counts(store, session_id)
            if counts.present - counts.pending >= photos:
                return counts
            await asyncio.sleep(_POLL_SECONDS)


@contextmanager
def open_site(
    directory: Path,
    kafka: KafkaKind,
    *,
    model: ModelSettings,
    engine: FaceEngine,
    photos: PhotoSet,
    report: Callable[[str], None],
) -> Iterator[Site]:
    """Start everything with data and logs in `directory`; ready when the context is entered."""
    port, api_key = free_port(HOST), secrets.token_urlsafe(32)
    options = StackOptions(
        host=HOST,
        port=port,
        kafka_port=free_port(HOST),
        data_dir=directory,
        photos=str(photos.directory),
        kind=kafka,
        settings=_NO_LIMITS | {"FACEPASS_API_KEYS": api_key},
    )
    with local_stack(options, report=report) as stack:
        yield Site(
            stack=stack,
            kafka=kafka,
            port=port,
            api_key=api_key,
            directory=directory,
            model=model,
            engine=engine,
            photos=photos,
        )


def cpu_seconds(process: psutil.Process) -> float:
    """Processor time that a process has used so far, user and system, all threads and its decoders'."""
    times = [each.cpu_times() for each in (process, *process.children())]
    return float(sum(time.user + time.system for time in times))
