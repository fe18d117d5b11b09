"""`index_photos` without Kafka: real database, real engine, real photo stores; the outlet listens."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest
from structlog.testing import capture_logs
from support.samples import astronaut_jpeg
from support.streams_support import eventually

from facepass.embedding import FaceEngine
from facepass.local.ports import free_port
from facepass.schemas.errors import ErrorCode, PermanentError, TransientError
from facepass.schemas.events import Event, IndexUpdate, PhotoIndexed
from facepass.schemas.faces import PhotoFaces
from facepass.schemas.ids import PhotoId, SessionId
from facepass.schemas.ledger import Effect, Origin
from facepass.schemas.photo_events import PhotoEvent
from facepass.schemas.settings import DatabaseSettings, IngestSettings, PhotoStoreSettings
from facepass.storage.database import open_database
from facepass.storage.generations import open_store
from facepass.storage.photos import PhotoStore, StoredPhoto, open_photo_store
from facepass.storage.writes import register_photos
from facepass.streams.dead_letters.give_up_limits import DeadLetterLimits
from facepass.streams.ingest import preparation
from facepass.streams.ingest.ingest_process import index_batch
from facepass.streams.ingest.pipeline import Analyser, Pipeline, Task, open_pipeline
from facepass.streams.ingest.settling import index_photos
from facepass.streams.ingest.sweep import sweep_forever, take_up, write_owed_dead_letters
from facepass.streams.kafka.records import DeadLetter, Record
from facepass.streams.process.worker import Worker

SESSION = SessionId("wedding")


@dataclass
class Listener:
    """Notes what is published, and what the database's other connections see at that moment."""

    database: str
    states: list[list[str]] = field(default_factory=list)
    updates: list[IndexUpdate] = field(default_factory=list)
    letters: list[DeadLetter] = field(default_factory=list)
    refusals: int = 0
    dies: bool = False

    async def publish_all(self, events: Sequence[Event]) -> None:
        if self.refusals:
            self.refusals -= 1
            raise TransientError(ErrorCode.BROKER_UNAVAILABLE, "not now")
        with psycopg.connect(self.database) as connection:
            rows = connection.execute("SELECT state::text FROM photo_results ORDER BY photo_id").fetchall()
        self.states.append([row[0] for row in rows])
        self.updates += [event for event in events if isinstance(event, IndexUpdate)]

    async def publish_dead_letter(self, letter: DeadLetter) -> None:
        if self.dies:
            raise RuntimeError("killed")
        self.letters.append(letter)


@dataclass
class Parts:
    pipeline: Pipeline
    listener: Listener
    database: str

    def run(self, statement: str) -> None:
        with psycopg.connect(self.database, autocommit=True) as connection:
            connection.execute(statement)  # type: ignore[arg-type]

    async def register(self, *tasks: Task) -> None:
        """Photos that a lost event left pending, and that are due for the sweep in this order."""
        for one in tasks:
            await register_photos(self.pipeline.store, [one.photo])
        self.run("UPDATE photo_results SET next_attempt_at = next_attempt_at - interval '2 h'")

    async def sweep(self) -> int:
        """Take up what is due; how many photos that were."""
        worker, places, taken = Worker("ingest"), asyncio.Semaphore(2), 0
        async with asyncio.TaskGroup() as group:
            while await take_up(self.pipeline, worker, places, group):
                taken += 1
        return taken

    def states(self) -> dict[str, str]:
        with psycopg.connect(self.database) as connection:
            rows = connection.execute("SELECT photo_id, state FROM photo_results").fetchall()
        return dict(rows)


Opener = Callable[..., AbstractAsyncContextManager[Parts]]


@pytest.fixture
def opened(database_settings: DatabaseSettings, engine: FaceEngine, tmp_path: Path) -> Opener:
    (tmp_path / "astronaut.jpg").write_bytes(astronaut_jpeg())
    address = database_settings.database.get_secret_value()

    @asynccontextmanager
    async def open_parts(
        *,
        photos: PhotoStoreSettings | None = None,
        settings: IngestSettings | None = None,
        analyser: Analyser | None = None,
        limits: DeadLetterLimits | None = None,
    ) -> AsyncIterator[Parts]:
        listener = Listener(address)
        async with (
            open_database(database_settings) as database,
            open_photo_store(photos or PhotoStoreSettings(photos=str(tmp_path))) as photo_store,
        ):
            store = await open_store(database, engine.spec)
            async with open_pipeline(
                store=store,
                photo_store=photo_store,
                engine=analyser or engine,
                outlet=listener,
                settings=settings or IngestSettings(),
                limits=limits,
            ) as pipeline:
                yield Parts(pipeline=pipeline, listener=listener, database=address)

    return open_parts


def task(photo_id: str, key: str = "astronaut.jpg") -> Task:
    then, origin = datetime(2026, 5, 9, tzinfo=UTC), Origin(topic="photo-indexed", partition=0, offset=0)
    event = PhotoIndexed(session_id=SESSION, photo_id=PhotoId(photo_id), s3_key=key, occurred_at=then)
    record = Record(origin=origin, value=event.to_bytes(), key=None, headers=(), recorded_at=then)
    return Task(photo=PhotoEvent(event=event, origin=origin), record=record)


async def test_updates_are_published_after_the_rows_are_committed(opened: Opener) -> None:
    async with opened() as parts:
        parts.listener.refusals = 2  # Kafka is away for a moment: held, not lost
        written = await index_photos(parts.pipeline, [task("a"), task("b")])
        assert [one.effect for one in written] == [Effect.WRITTEN] * 2
        assert parts.listener.states == [["indexed", "indexed"]]
        assert [update.photo_id for update in parts.listener.updates] == ["a", "b"]


async def test_a_redelivered_photo_is_announced_again_without_being_analysed(
    opened: Opener, engine: FaceEngine
) -> None:
    counting = Counting(engine)
    async with opened(analyser=counting) as parts:
        await index_photos(parts.pipeline, [task("a")])
        (again,) = await index_photos(parts.pipeline, [task("a")])
        assert (again.effect, counting.analysed) == (Effect.DUPLICATE, 1)
        first, second = parts.listener.updates
        assert first == second


async def test_a_photo_store_that_is_away_leaves_photos_pending_then_failed_with_a_rebuilt_letter(
    opened: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "nobody")
    away = PhotoStoreSettings(
        photos="s3://bucket/prefix", s3_endpoint=f"http://127.0.0.1:{free_port()}", s3_region="eu-west-1"
    )
    async with opened(photos=away) as parts:
        with capture_logs() as logs:
            (pending,) = await index_photos(parts.pipeline, [task("a")])
        assert (pending.update.status, parts.listener.letters) == ("pending", [])
        (line,) = [line for line in logs if line["event"] == "photo_failed"]
        assert (line["photo_id"], line["session_id"], line["code"]) == ("a", SESSION, "store_unavailable")
        assert await parts.sweep() == 0, "it is not due yet"
        parts.run("UPDATE photo_results SET next_attempt_at = now() - interval '1 s'")
        parts.run("UPDATE photo_results SET first_failed_at = now() - interval '25 h'")
        assert await parts.sweep() == 1
        (letter,) = parts.listener.letters
        assert (letter.code, letter.rebuilt) == (ErrorCode.STORE_UNAVAILABLE, True)
        assert json.loads(letter.record.value or b"") == {
            "session_id": SESSION,
            "photo_id": "a",
            "s3_key": "astronaut.jpg",
            "occurred_at": "2026-05-09T00:00:00Z",
        }
        assert parts.listener.states[-1] == ["failed"]


async def test_the_sweep_indexes_what_a_lost_event_left_pending(opened: Opener) -> None:
    async with opened() as parts:
        await parts.register(task("a"), task("b"), task("c"))
        assert await parts.sweep() == 3
        assert parts.states() == {"a": "indexed", "b": "indexed", "c": "indexed"}
        assert await parts.sweep() == 0


async def test_a_photo_that_hangs_in_the_sweep_delays_no_other(
    opened: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preparation, "_FETCH_RETRY_SECONDS", 0.3)
    settings = IngestSettings(fetch_concurrency=4, sweep_seconds=0.05)
    async with opened(settings=settings) as parts:
        hanging = Hanging(parts.pipeline.photo_store)
        pipeline = replace(parts.pipeline, photo_store=hanging)
        await parts.register(*(task(f"hangs-{number}", "hangs.jpg") for number in range(5)), task("good"))
        sweeping = asyncio.create_task(sweep_forever(pipeline, Worker("ingest")))
        try:
            await eventually(lambda: parts.states()["good"] == "indexed")
            assert "indexed" not in {state for photo, state in parts.states().items() if photo != "good"}
            hanging.let_go.set()  # one was let take its time
            await eventually(lambda: list(parts.states().values()).count("indexed") >= 2)
        finally:
            sweeping.cancel()
            await asyncio.wait([sweeping])


@pytest.mark.parametrize("swept", [True, False])
async def test_a_dead_letter_that_a_dying_process_did_not_write_is_written_at_the_next_start(
    opened: Opener, swept: bool
) -> None:
    async with opened() as parts:
        parts.listener.dies = True
        await parts.register(task("a", "gone.jpg"))
        with pytest.raises((ExceptionGroup, RuntimeError)):
            await (parts.sweep() if swept else index_photos(parts.pipeline, [task("a", "gone.jpg")]))
        assert (parts.states(), parts.listener.letters) == ({"a": "failed"}, [])
    async with opened() as parts:
        await write_owed_dead_letters(parts.pipeline)
        (letter,) = parts.listener.letters
        assert (letter.code, letter.rebuilt) == (ErrorCode.PHOTO_NOT_FOUND, True)
        assert json.loads(letter.record.value or b"")["photo_id"] == "a"
        await write_owed_dead_letters(parts.pipeline)
        await index_photos(parts.pipeline, [task("b", "gone.jpg")])
        await write_owed_dead_letters(parts.pipeline)
        assert len(parts.listener.letters) == 2, "a letter that was written is owed again"


async def test_a_defect_with_one_photo_fails_that_photo_alone(opened: Opener, engine: FaceEngine) -> None:
    async with opened(analyser=Counting(engine, fails_at=2)) as parts:
        with capture_logs() as logs:
            await index_photos(parts.pipeline, [task("a"), task("b"), task("c")])
        assert sorted(parts.listener.states[-1]) == ["failed", "indexed", "indexed"]
        (letter,) = parts.listener.letters
        assert (letter.code, letter.text) == (ErrorCode.INTERNAL, "a defect: ZeroDivisionError")
        (line,) = [line for line in logs if line["event"] == "photo_failed"]
        assert isinstance(line["exc_info"], ZeroDivisionError)


async def test_an_outage_of_postgresql_holds_the_batch_until_it_is_over(opened: Opener) -> None:
    async with opened() as parts:
        name = psycopg.conninfo.conninfo_to_dict(parts.database)["dbname"]
        parts.run(f"ALTER DATABASE \"{name}\" SET lock_timeout = '50ms'")
        parts.run(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        with psycopg.connect(parts.database) as blocker, capture_logs() as logs:
            blocker.execute("LOCK TABLE photo_results")  # counts as an outage, like a server that is away
            batch = asyncio.create_task(index_photos(parts.pipeline, [task("a")]))
            async with asyncio.timeout(30):
                while sum(line["event"] == "waiting" for line in logs) < 2:  # noqa: ASYNC110 - a log, not an event
                    await asyncio.sleep(0.05)
            assert not batch.done()
            assert parts.listener.updates == []
            blocker.rollback()
            (written,) = await asyncio.wait_for(batch, 30)
        assert written.effect is Effect.WRITTEN
        assert any(line["event"] == "available" for line in logs)


async def test_a_batch_is_settled_and_acknowledged_only_after_the_one_before_it(opened: Opener) -> None:
    acknowledged: list[str] = []
    async with opened() as parts:
        gate: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        async def before() -> None:
            await gate

        earlier = asyncio.create_task(before())
        event = FaustEvent("b", acknowledged)
        later = asyncio.create_task(index_batch(parts.pipeline, Worker("ingest"), [event], earlier))
        await asyncio.sleep(1)  # long enough to analyse one photo and go on
        assert (acknowledged, parts.listener.states) == ([], [])
        gate.set_result(None)
        await asyncio.wait_for(later, 30)
        assert (acknowledged, parts.listener.states) == (["b"], [["indexed"]])


async def test_a_failure_of_the_batch_before_leaves_the_later_one_unacknowledged(opened: Opener) -> None:
    acknowledged: list[str] = []
    async with opened() as parts:

        async def before() -> None:
            raise ZeroDivisionError

        earlier = asyncio.create_task(before())
        with pytest.raises(ZeroDivisionError):
            await index_batch(parts.pipeline, Worker("ingest"), [FaustEvent("b", acknowledged)], earlier)
        assert (acknowledged, parts.listener.states) == ([], [])


async def test_a_batch_with_too_many_failures_leaves_no_trace(opened: Opener) -> None:
    async with opened(limits=DeadLetterLimits(in_a_row=2)) as parts:
        await index_photos(parts.pipeline, [task("a", "gone.jpg"), task("b", "gone.jpg")])
        assert (parts.listener.states, len(parts.listener.letters)) == ([["failed", "failed"]], 2)
        with pytest.raises(PermanentError, match="3 of them for photo_not_found") as caught:
            await index_photos(parts.pipeline, [task("c", "gone.jpg"), task("d")])
        assert caught.value.code is ErrorCode.TOO_MANY_DEAD_LETTERS
        assert (len(parts.listener.states), len(parts.listener.letters)) == (1, 2), "published"
        await index_photos(parts.pipeline, [task("d")])
        assert parts.listener.states[-1] == ["failed", "failed", "indexed"], "c was written"


class Hanging:
    """A photo store of which one object does not come until it is let go."""

    def __init__(self, store: PhotoStore) -> None:
        self._store = store
        self.let_go = asyncio.Event()

    async def fetch(self, s3_key: str) -> StoredPhoto:
        if s3_key == "hangs.jpg":
            await self.let_go.wait()
        return await self._store.fetch("astronaut.jpg")


class Counting:
    """The real engine, counted, and with a defect at one analysis."""

    def __init__(self, engine: FaceEngine, fails_at: int = 0) -> None:
        self._engine = engine
        self._fails_at = fails_at
        self.threads = engine.threads
        self.analysed = 0

    def analyse_photo(self, data: bytes) -> PhotoFaces:
        self.analysed += 1
        if self.analysed == self._fails_at:
            raise ZeroDivisionError("not shown")
        return self._engine.analyse_photo(data)


class FaustEvent:
    """The two things that ingest uses of a Faust event."""

    def __init__(self, photo_id: str, acknowledged: list[str]) -> None:
        self.message = Message(
            value=json.dumps({"session_id": SESSION, "photo_id": photo_id, "s3_key": "astronaut.jpg"}).encode()
        )
        self._photo_id = photo_id
        self._acknowledged = acknowledged

    def ack(self) -> bool:
        self._acknowledged.append(self._photo_id)
        return True


@dataclass
class Message:
    value: bytes
    key: bytes | None = None
    headers: tuple[tuple[str, bytes], ...] = ()
    topic: str = "photo-indexed"
    partition: int = 0
    offset: int = 0
    timestamp: float = field(default_factory=lambda: datetime.now(UTC).timestamp())
