"""`facepass intake` and `facepass ingest` as processes: bad input, redelivery, stops, outages, idleness.

One broker, one database and one photo directory for all; every test has a session of its own.
"""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import psutil
import psycopg
import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.structs import ConsumerRecord
from support.samples import astronaut_jpeg, group_jpeg
from support.streams_support import SESSION_SECONDS, committed, read_topic, with_topics

from facepass.local.broker import embedded_broker
from facepass.local.ports import free_port
from facepass.schemas.settings import DatabaseSettings
from facepass.storage.migrations import migrate
from facepass.streams.ingest.ingest_process import INGEST_GROUP

PARTITIONS = 2
PATIENCE = 60.0
DEAD = "facepass-dead-letters"


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    popen: "subprocess.Popen[bytes]"
    log: Path
    port: int

    def get(self, path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as exc:
            return exc.code, exc.read().decode()
        except OSError:
            return 0, ""

    def lines(self, event: str, **fields: object) -> list[dict[str, Any]]:
        """Lines of its log with this event and these fields."""
        found = []
        for line in self.log.read_text().splitlines():
            entry = json.loads(line) if line.startswith("{") else {}
            if entry.get("event") == event and all(entry.get(key) == value for key, value in fields.items()):
                found.append(entry)
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class System:
    kafka: str
    database: str
    photos: Path
    directory: Path

    def start(self, name: str, **settings: str) -> Process:
        port, log = free_port(), self.directory / f"{name}-{uuid.uuid4().hex[:6]}.log"
        environment = {
            **os.environ,
            "FACEPASS_KAFKA": self.kafka,
            "FACEPASS_KAFKA_IDEMPOTENCE": "false",
            "FACEPASS_SESSION_TIMEOUT_SECONDS": str(SESSION_SECONDS),
            "FACEPASS_DATABASE": self.database,
            "FACEPASS_PHOTOS": str(self.photos),
            "FACEPASS_LOG_FORMAT": "json",
            "FACEPASS_SWEEP_SECONDS": "1",
            **settings,
        }
        with log.open("wb") as output:
            popen = subprocess.Popen(
                [sys.executable, "-m", "facepass", name, "--metrics-port", str(port)],
                env=environment,
                cwd=self.directory,
                stderr=output,
                stdout=output,
            )
        return Process(popen=popen, log=log, port=port)

    def publish(self, topic: str, *values: bytes | dict[str, Any]) -> None:
        asyncio.run(self._publish(topic, values))

    async def _publish(self, topic: str, values: tuple[bytes | dict[str, Any], ...]) -> None:
        producer = AIOKafkaProducer(bootstrap_servers=self.kafka)
        await producer.start()
        try:
            for number, value in enumerate(values):
                raw = value if isinstance(value, bytes) else json.dumps(value).encode()
                await producer.send_and_wait(topic, raw, key=str(number).encode(), headers=[("trace", b"abc")])
        finally:
            await producer.stop()

    def rows(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.database) as connection:
            return connection.execute(sql, values).fetchall()  # type: ignore[arg-type]

    def states(self, session: str) -> dict[str, tuple[str, str | None]]:
        found = self.rows(
            "SELECT photo_id, state, error FROM photo_results WHERE session_id = %s ORDER BY photo_id", session
        )
        return {photo: (state, error) for photo, state, error in found}

    def settled(self, session: str, count: int) -> bool:
        states = self.states(session)
        return len(states) == count and all(state != "pending" for state, _ in states.values())

    def topic(self, name: str) -> list[ConsumerRecord[bytes, bytes]]:
        return asyncio.run(read_topic(self.kafka, name))

    def dead_letters(self, session: str) -> list[ConsumerRecord[bytes, bytes]]:
        return [record for record in self.topic(DEAD) if session.encode() in (record.value or b"")]

    def ingest_offsets(self) -> int:
        found = asyncio.run(committed(self.kafka, INGEST_GROUP, "photo-indexed", PARTITIONS))
        return sum(offset or 0 for offset in found)


def wait_for(condition: Callable[[], object], what: str, seconds: float = PATIENCE) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"not within {seconds} s: {what}")
        time.sleep(0.1)


def photo(session: str, photo_id: str, key: str = "astronaut.jpg") -> dict[str, Any]:
    now = datetime.now(UTC).isoformat()
    return {"session_id": session, "photo_id": photo_id, "s3_key": key, "occurred_at": now}


def new_session() -> str:
    return f"session-{uuid.uuid4().hex[:8]}"


@pytest.fixture(scope="module")
def system(postgres: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    directory = tmp_path_factory.mktemp("processes")
    photos = directory / "photos"
    photos.mkdir()
    _write_photos(photos)
    name = f"processes_{uuid.uuid4().hex[:8]}"
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")  # type: ignore[arg-type]
        base, _, query = postgres.partition("?")
        database = f"{base.rpartition('/')[0]}/{name}?{query}"
        migrate(DatabaseSettings.model_validate({"database": database}))
        with embedded_broker("127.0.0.1", free_port(), log=directory / "broker.log") as address:
            asyncio.run(with_topics(address, partitions=PARTITIONS))
            yield System(kafka=address, database=database, photos=photos, directory=directory)
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def intake(system: System) -> Iterator[Process]:
    process = system.start("intake")
    wait_for(lambda: process.get("/ready")[0] == 200, "intake is ready")
    yield process
    assert _ended(process, signal.SIGTERM) == 0


@pytest.fixture(scope="module")
def ingest(system: System, intake: Process) -> Iterator[Process]:
    process = system.start("ingest")
    wait_for(lambda: process.get("/ready")[0] == 200, "ingest is ready")
    yield process
    if process.popen.poll() is None:  # the last test kills it
        assert _ended(process, signal.SIGTERM) == 0
    assert intake.popen.poll() is None


def _ended(process: Process, number: signal.Signals) -> int:
    process.popen.send_signal(number)
    return process.popen.wait(20)


def _write_photos(photos: Path) -> None:
    (photos / "astronaut.jpg").write_bytes(astronaut_jpeg())
    (photos / "group.jpg").write_bytes(group_jpeg())
    (photos / "text.jpg").write_bytes(b"this is no image at all")
    (photos / "cut.jpg").write_bytes(astronaut_jpeg()[:20_000])
    ok, grey = cv2.imencode(".jpg", np.full((480, 640, 3), 128, np.uint8))
    assert ok
    (photos / "grey.jpg").write_bytes(grey.tobytes())
    (photos / "huge.png").write_bytes(_huge_png())


def _huge_png() -> bytes:
    """A valid PNG that announces 65,000 × 65,000 pixels in a hundred bytes."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4, "big") + name + data + zlib.crc32(name + data).to_bytes(4, "big")

    header = (65_000).to_bytes(4, "big") * 2 + b"\x08\x02\x00\x00\x00"
    content = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\x00" * 64)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + content


BAD_PHOTOS = {
    "unknown": ("gone.jpg", "photo_not_found"),
    "text": ("text.jpg", "unsupported_image"),
    "cut": ("cut.jpg", "damaged_image"),
    "huge": ("huge.png", "too_many_pixels"),
    "outside": ("../secret.jpg", "invalid_s3_key"),
}


def test_bad_input_ends_in_the_ledger_and_its_neighbours_are_indexed(
    system: System, intake: Process, ingest: Process
) -> None:
    session = new_session()
    undecodable = b'{"session_id": "' + session.encode() + b'", "photo_id": ""}'
    not_json = b"not json for " + session.encode()
    bad = [photo(session, name, key) for name, (key, _) in BAD_PHOTOS.items()]
    system.publish(
        "photo-indexed",
        photo(session, "first"),
        undecodable,
        *bad,
        not_json,
        photo(session, "faceless", "grey.jpg"),
        photo(session, "last", "group.jpg"),
    )
    wait_for(lambda: system.settled(session, 8), "all photos are settled")

    expected: dict[str, tuple[str, str | None]] = {
        name: ("failed", code) for name, (_, code) in BAD_PHOTOS.items()
    }
    expected |= {"first": ("indexed", None), "last": ("indexed", None), "faceless": ("no_face", None)}
    assert system.states(session) == expected
    wait_for(lambda: len(system.dead_letters(session)) == 7, "dead letters")
    letters = {
        dict(letter.headers)["facepass-error-code"].decode(): letter for letter in system.dead_letters(session)
    }
    assert sorted(letters) == sorted([code for _, code in BAD_PHOTOS.values()] + ["invalid_event", "invalid_id"])
    for name, (_, code) in BAD_PHOTOS.items():
        assert json.loads(letters[code].value)["photo_id"] == name
        assert len(ingest.lines("photo_failed", session_id=session, photo_id=name, code=code)) == 1
    assert letters["invalid_event"].value == not_json, "the original bytes"
    headers = dict(letters["invalid_id"].headers)
    assert headers["trace"] == b"abc", "the original headers"
    assert headers["facepass-topic"] == b"photo-indexed"
    assert b"facepass-rebuilt" not in headers
    assert intake.lines("event_refused", code="invalid_id", offset=int(headers["facepass-offset"]))
    assert ingest.popen.poll() is None
    updates = [json.loads(record.value) for record in system.topic("index-updates")]
    published = {u["photo_id"]: u["status"] for u in updates if u["session_id"] == session}
    assert published == {name: state for name, (state, _) in expected.items()}


@pytest.mark.usefixtures("ingest")
def test_deletions_and_session_updates_reach_the_rows_and_are_published(system: System, intake: Process) -> None:
    session, kept = new_session(), new_session()
    system.publish("photo-indexed", photo(session, "a"), photo(kept, "b"), photo(kept, "c"))
    wait_for(lambda: system.settled(session, 1) and system.settled(kept, 2), "photos are indexed")
    now = datetime.now(UTC).isoformat()
    system.publish("session-updated", {"session_id": kept, "name": "A wedding", "occurred_at": now})
    system.publish("session-deleted", {"session_id": session, "occurred_at": now})
    system.publish("photo-deleted", {"session_id": kept, "photo_id": "b", "occurred_at": now})
    wait_for(lambda: len(intake.lines("photo_deleted", session_id=kept, photo_id="b")) == 1, "photo deleted")
    wait_for(lambda: len(intake.lines("session_deleted", session_id=session)) == 1, "session deleted")
    wait_for(lambda: intake.lines("session_updated", session_id=kept), "session updated")
    assert {state for state, _ in system.states(session).values()} == {"deleted"}
    assert {photo_id: state for photo_id, (state, _) in system.states(kept).items()} == {
        "b": "deleted",
        "c": "indexed",
    }
    faces = system.rows("SELECT photo_id FROM face_embeddings WHERE session_id = ANY(%s)", [session, kept])
    assert faces == [("c",)]
    assert system.rows("SELECT name FROM sessions WHERE session_id = %s", kept) == [("A wedding",)]
    statuses = {
        json.loads(record.value)["status"]
        for record in system.topic("index-updates")
        if record.key in {session.encode(), kept.encode()}
    }
    assert {"session_deleted", "deleted"} <= statuses


@pytest.mark.usefixtures("intake", "ingest")
def test_nothing_is_written_while_nothing_happens(system: System) -> None:
    def everything() -> object:
        tables = ("sessions", "photos", "photo_results", "face_embeddings", "session_generations")
        topics = ("index-updates", DEAD, "photo-indexed")
        return (
            [system.rows(f"SELECT count(*), max(xmin::text::bigint) FROM {table}") for table in tables],
            [len(system.topic(topic)) for topic in topics],
            system.ingest_offsets(),
        )

    wait_for(lambda: system.ingest_offsets() == len(system.topic("photo-indexed")), "all offsets are committed")
    before = everything()
    time.sleep(3)  # the sweep, the commit timer and the follower's timers run every second
    assert everything() == before


def test_probes_and_metrics_and_priority(intake: Process, ingest: Process) -> None:
    assert json.loads(ingest.get("/health")[1])["status"] == "healthy"
    assert json.loads(intake.get("/ready")[1]) == {"ready": True}
    assert 'index_requests_total{outcome="indexed"}' in ingest.get("/metrics")[1]
    assert 'events_total{outcome="applied",topic="photo-indexed"}' in intake.get("/metrics")[1]
    threads = psutil.Process(ingest.popen.pid).threads()
    assert {os.getpriority(os.PRIO_PROCESS, thread.id) for thread in threads} == {10}


def test_a_second_ingest_is_ready_as_a_spare_or_with_a_share(system: System, ingest: Process) -> None:
    second = system.start("ingest")
    try:
        wait_for(lambda: second.get("/ready")[0] == 200, "the second is ready")
        session = new_session()
        system.publish("photo-indexed", *(photo(session, str(number)) for number in range(8)))
        wait_for(lambda: system.settled(session, 8), "photos are indexed by the two")
    finally:
        assert _ended(second, signal.SIGTERM) == 0
    wait_for(lambda: ingest.get("/ready")[0] == 200, "the first has them all again")


def test_a_killed_ingest_loses_nothing_and_redelivery_changes_no_row(system: System, ingest: Process) -> None:
    session, count = new_session(), 40
    system.publish("photo-indexed", *(photo(session, f"{number:02}") for number in range(count)))
    wait_for(lambda: any(state == "indexed" for state, _ in system.states(session).values()), "the first rows")
    ingest.popen.kill()
    ingest.popen.wait()
    before = system.rows(
        "SELECT photo_id, revision, attempts FROM photo_results WHERE session_id = %s AND state = 'indexed'",
        session,
    )
    replacement = system.start("ingest")
    try:
        wait_for(lambda: system.settled(session, count), "all photos are settled")
        after = {
            row[0]: row
            for row in system.rows(
                "SELECT photo_id, revision, attempts FROM photo_results WHERE session_id = %s", session
            )
        }
        assert [after[row[0]] for row in before] == before
        assert {state for state, _ in system.states(session).values()} == {"indexed"}
        (faces,) = system.rows("SELECT count(*) FROM face_embeddings WHERE session_id = %s", session)
        assert faces == (count,)
        # A stop in the middle of work: what was finished is committed, what was not comes again.
        again = new_session()
        system.publish("photo-indexed", *(photo(again, f"{number:02}") for number in range(count)))
        wait_for(lambda: system.states(again), "the first rows")
    finally:
        assert _ended(replacement, signal.SIGTERM) == 0
    rows = len([state for state, _ in system.states(again).values() if state == "indexed"])
    total = len(system.topic("photo-indexed"))
    assert system.ingest_offsets() <= total - count + rows, "an offset was committed before its row"


def test_a_start_waits_for_what_is_absent_and_ends_on_a_signal(system: System, tmp_path: Path) -> None:
    nothing = f"127.0.0.1:{free_port()}"
    without_kafka = system.start("intake", FACEPASS_KAFKA=nothing)
    without_database = system.start("intake", FACEPASS_DATABASE=f"postgresql://facepass@{nothing}/x")
    with embedded_broker("127.0.0.1", free_port(), log=tmp_path / "empty.log") as empty:
        without_topics = system.start("intake", FACEPASS_KAFKA=empty)
        waiting = {
            without_kafka: "broker_unavailable",
            without_database: "database_unavailable",
            without_topics: "topic_missing",
        }
        for process, code in waiting.items():
            wait_for(lambda p=process, c=code: p.lines("waiting", code=c), code)
            status, body = process.get("/ready")
            assert (status, process.get("/health")[0]) == (503, 200)
            assert "waits" in body
        asyncio.run(with_topics(empty))
        wait_for(lambda: without_topics.get("/ready")[0] == 200, "topics were created, and it went on")
        for process in waiting:
            assert _ended(process, signal.SIGTERM) == 0


def test_a_compacted_topic_ends_the_start_with_what_to_do(system: System, tmp_path: Path) -> None:
    with embedded_broker("127.0.0.1", free_port(), log=tmp_path / "compacted.log") as address:
        asyncio.run(_create_compacted(address))
        process = system.start("intake", FACEPASS_KAFKA=address)
        assert process.popen.wait(PATIENCE) not in (0, None)
    text = process.log.read_text()
    assert "photo-deleted has cleanup.policy=compact" in text
    assert "--add-config cleanup.policy=delete" in text


async def _create_compacted(address: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=address)
    await admin.start()
    try:
        await admin.create_topics([NewTopic("photo-deleted", 1, 1, topic_configs={"cleanup.policy": "compact"})])
    finally:
        await admin.close()
    await with_topics(address)
