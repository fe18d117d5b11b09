"""How often a selfie, a photo and a deletion change file on their way through the package `facepass`.

    PYTHONPATH=tests python tests/support/journeys.py [--files]

What is counted: every time a Python function begins whose code lies in a file of the package, in any thread of
this process, by the interpreter's profiling hook (`call` events). The beginnings of a journey make one sequence,
in the order of time; two neighbours in different files are one change of file.

- A coroutine or generator begins once: going on after a wait is no beginning. A return is none either.
- Lambdas and comprehensions (whose names begin with "<") belong to the function around them, which has begun.
- Passed over is what lies outside the package's files: libraries, tests, methods that `dataclass` generates.
- No file is left out. Logging is at level `error`, so no journey writes a line, and none is formatted.
- Pictures are decoded by child processes: only what calls them is counted.

The journeys, on a real database, engine and application, all warm: each is made once before it is measured.

- selfie: `POST /api/v1/search` in a session of two photos, both of which are found; its shard is loaded.
- photo: ingest's function for a batch of Faust events, with one event of a registered photo: until its row is
  settled, its update published and the event acknowledged.
- photo from intake on: the same after intake's function for records, which registers the photo.
- deletion: `DELETE /api/v1/index/{session_id}` of a session of one photo, acknowledged.

Kafka is a stand-in outside the package: updates go nowhere, and a published deletion is applied by intake's
function before `publish` returns. No replica is registered when sessions are deleted, so that nobody waits for a
poll. The pool has one connection: tasks that use the database at once take turns, in the same order every time.
Each journey is measured three times, and the run with the fewest changes is shown.
"""

import argparse
import asyncio
import dis
import inspect
import json
import logging
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from types import FrameType, SimpleNamespace

import httpx
import structlog
from pydantic import SecretStr
from support.samples import astronaut_jpeg
from support.search_stack import SearchStack, open_search_stack

import facepass
from facepass.embedding import FaceEngine, open_engine
from facepass.local import embedded_postgres
from facepass.schemas.events import Event, SessionDeleted
from facepass.schemas.ledger import Origin
from facepass.schemas.settings import (
    AccessSettings,
    DatabaseSettings,
    IngestSettings,
    ModelSettings,
    PhotoStoreSettings,
)
from facepass.storage.migrations import migrate
from facepass.storage.photos import open_photo_store
from facepass.streams.ingest.ingest_process import index_batch
from facepass.streams.ingest.pipeline import Pipeline, open_pipeline
from facepass.streams.intake.applying import Intake, register, remove_session
from facepass.streams.kafka import DeadLetter, record_from_message
from facepass.streams.process import Worker

# --- What the package calls its things. To measure another state of it, adapt this part and the imports. ---


class Broker:
    """Stands in for Kafka: intake applies a deletion while it is published."""

    intake: Intake

    async def publish(self, event: Event, *, origin_api: bool = False) -> Origin:
        """Of the API: a deletion."""
        assert origin_api
        assert isinstance(event, SessionDeleted)
        await remove_session(self.intake, event)
        return Origin(topic=event.topic, partition=0, offset=0)

    async def publish_all(self, events: Sequence[Event]) -> list[Origin]:
        """Of intake and ingest: updates."""
        return [Origin(topic=event.topic, partition=0, offset=0) for event in events]

    async def publish_dead_letter(self, letter: DeadLetter) -> None:
        """No journey gives up its event."""
        raise AssertionError(letter.text)


@dataclass(frozen=True, kw_only=True)
class System:
    """The application with a client, and what intake and ingest work with."""

    stack: SearchStack
    intake: Intake
    pipeline: Pipeline
    worker: Worker

    @property
    def client(self) -> httpx.AsyncClient:
        return self.stack.client

    async def fill(self, session_id: str, photo_ids: Sequence[str]) -> None:
        """Make a session whose photos all show the same face."""
        await self.stack.index(session_id, dict.fromkeys(photo_ids, astronaut_jpeg()))

    async def take_in(self, event: "FaustEvent") -> None:
        """What intake does with an event of `photo-indexed`."""
        await register(self.intake, [record_from_message(event.message)])
        event.ack()

    async def index(self, event: "FaustEvent") -> None:
        """What ingest does with an event of `photo-indexed`."""
        await index_batch(self.pipeline, self.worker, [event], None)

    async def unregister_replica(self) -> None:
        """Let deletions wait for no serving process."""
        await self.stack.parts.replica.close()


@asynccontextmanager
async def open_system(uri: str, directory: Path, key: str) -> AsyncIterator[System]:
    """The system on an empty database, with a folder of photos below `directory`, in which `PHOTO` lies."""
    database = DatabaseSettings(database=SecretStr(uri))
    migrate(database)
    photos = PhotoStoreSettings(photos=str(directory))
    engine, broker = open_engine(ModelSettings(cache_dir=directory / "packs")), Broker()
    async with AsyncExitStack() as opened:
        stack = await opened.enter_async_context(
            open_search_stack(
                database.model_copy(update={"database_pool_size": 1}),
                engine,
                access=AccessSettings(api_keys=SecretStr(key)),
                events=broker,
                photos=photos,
            )
        )
        parts = stack.parts
        broker.intake = Intake(store=parts.store, outlet=broker)
        pipeline = await opened.enter_async_context(_open_ingest(broker, engine, photos))
        yield System(stack=stack, intake=broker.intake, pipeline=pipeline, worker=Worker("ingest"))


@asynccontextmanager
async def _open_ingest(broker: Broker, engine: FaceEngine, photos: PhotoStoreSettings) -> AsyncIterator[Pipeline]:
    async with (
        open_photo_store(photos) as photo_store,
        open_pipeline(
            store=broker.intake.store,
            photo_store=photo_store,
            engine=engine,
            outlet=broker,
            settings=IngestSettings(),
        ) as pipeline,
    ):
        yield pipeline


# --- From here on nothing of the package is named but its outside: its folder, routes and records. ---

PACKAGE = Path(facepass.__file__).resolve().parent
KEY = "a-key-of-the-journeys"
PHOTO = "astronaut.jpg"
RUNS = 3

_SUSPENDED = inspect.CO_GENERATOR | inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR
_BEGINNING = bytes([dis.opmap["RESUME"], 0])
"""The instruction at which a function stands that begins; one that goes on stands at another, or its argument
is another."""


class FaustEvent:
    """Stands in for Faust's event of one record of `photo-indexed`."""

    def __init__(self, photo_id: str) -> None:
        fields = {"session_id": "party", "photo_id": photo_id, "s3_key": PHOTO}
        self.acknowledged = False
        self.message = SimpleNamespace(
            topic="photo-indexed",
            partition=0,
            offset=0,
            value=json.dumps(fields | {"occurred_at": "2026-05-09T00:00:00Z"}).encode(),
            key=photo_id.encode(),
            headers=(),
            timestamp=time.time(),
        )

    def ack(self) -> None:
        self.acknowledged = True


@dataclass
class Recorder:
    """Notes, while it is on, the file of every function of the package that begins. Install it before threads."""

    on: bool = False
    files: list[str] = field(default_factory=list)

    def install(self) -> None:
        """Hook into this thread and all that start later."""
        threading.setprofile(self._hook)
        sys.setprofile(self._hook)

    async def record(self, journey: Awaitable[None]) -> list[str]:
        """The files of one journey's beginnings, in order of time."""
        self.files, self.on = [], True
        try:
            await journey
        finally:
            self.on = False
        return self.files

    def _hook(self, frame: FrameType, event: str, _argument: object) -> None:
        code = frame.f_code
        if not self.on or event != "call" or code.co_name.startswith("<"):
            return
        if code.co_flags & _SUSPENDED and code.co_code[frame.f_lasti : frame.f_lasti + 2] != _BEGINNING:
            return
        file = Path(code.co_filename)
        if file.is_relative_to(PACKAGE):
            self.files.append(file.relative_to(PACKAGE).as_posix())


def changes(files: Sequence[str]) -> int:
    """How often two neighbours differ."""
    return sum(before != after for before, after in pairwise(files))


async def measured(
    recorder: Recorder,
    journey: Callable[[str], Awaitable[None]],
    *,
    prepare: Callable[[str], Awaitable[None]] | None = None,
) -> list[str]:
    """The files of the journey's run with the fewest changes, after one to warm up.

    Args:
        journey: takes a name that no other run has.
        prepare: is made before each run, with the same name, and not counted.
    """
    runs = []
    for number in range(RUNS + 1):
        name = f"run-{number}"
        if prepare is not None:
            await prepare(name)
        runs.append(await recorder.record(journey(name)))
    return min(runs[1:], key=changes)


async def measured_selfie(recorder: Recorder, system: System) -> list[str]:
    await system.fill("wedding", ["first", "second"])

    async def search(_: str) -> None:
        answer = await system.client.post(
            "/api/v1/search", files={"file": astronaut_jpeg()}, data={"session_id": "wedding"}
        )
        assert len(answer.raise_for_status().json()["matches"]) == 2

    return await measured(recorder, search)


async def measured_photo(recorder: Recorder, system: System) -> list[str]:
    events: dict[str, FaustEvent] = {}

    async def prepare(name: str) -> None:
        events[name] = FaustEvent(name)
        await system.take_in(FaustEvent(name))

    async def index(name: str) -> None:
        await system.index(events[name])
        assert events[name].acknowledged

    return await measured(recorder, index, prepare=prepare)


async def measured_photo_from_intake(recorder: Recorder, system: System) -> list[str]:
    async def index(name: str) -> None:
        taken_in, indexed = FaustEvent(f"new-{name}"), FaustEvent(f"new-{name}")
        await system.take_in(taken_in)
        await system.index(indexed)
        assert taken_in.acknowledged
        assert indexed.acknowledged

    return await measured(recorder, index)


async def measured_deletion(recorder: Recorder, system: System) -> list[str]:
    await system.unregister_replica()

    async def prepare(name: str) -> None:
        await system.fill(name, ["only"])

    async def delete(name: str) -> None:
        answer = await system.client.delete(f"/api/v1/index/{name}", headers={"X-API-Key": KEY})
        receipt = answer.raise_for_status().json()
        assert (receipt["deleted"], receipt["photos_removed"]) == (True, 1)

    return await measured(recorder, delete, prepare=prepare)


async def measure(uri: str, directory: Path) -> dict[str, list[str]]:
    """The files of each journey, in order of time."""
    (directory / PHOTO).write_bytes(astronaut_jpeg())
    recorder = Recorder()
    recorder.install()
    try:
        async with open_system(uri, directory, KEY) as system:
            return {
                "selfie": await measured_selfie(recorder, system),
                "photo": await measured_photo(recorder, system),
                "photo from intake on": await measured_photo_from_intake(recorder, system),
                "deletion": await measured_deletion(recorder, system),
            }
    finally:
        sys.setprofile(None)
        threading.setprofile(None)


def report(name: str, files: Sequence[str], *, listed: bool) -> str:
    """One line; with `listed` also a line a file, in order of first touch, with how many functions began in it."""
    counts = Counter(files)
    lines = [f"{name}: {changes(files)} changes of file over {len(counts)} files"]
    if listed:
        lines += [f"{count:6} {file}" for file, count in counts.items()]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure in a database and folder that are gone afterwards."""
    parser = argparse.ArgumentParser(description="Count how often three journeys change file.")
    parser.add_argument("--files", action="store_true", help="list the files in order of first touch")
    listed = parser.parse_args().files
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder)
        photos = directory / "photos"
        photos.mkdir()
        with embedded_postgres(directory / "postgres", log=directory / "postgres.log", durable=False) as uri:
            found = asyncio.run(measure(uri, photos))
    for name, files in found.items():
        sys.stdout.write(report(name, files, listed=listed))


if __name__ == "__main__":
    main()
