"""Intake: how fast photos are registered, beside a bare reader that copies the same rows into the same tables."""

import asyncio
import json
import statistics
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import perf_counter

import psycopg
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from pydantic import SecretStr

from bench.row import Row, reaches
from bench.site import HOST
from bench.sizes import Sizes
from facepass.embedding import read_spec
from facepass.local import (
    KafkaKind,
    embedded_postgres,
    free_port,
    last_lines,
    local_kafka,
    process_environment,
    start_child,
    stop_children,
)
from facepass.schemas.errors import ErrorCode, PermanentError
from facepass.schemas.events import PhotoIndexed
from facepass.schemas.faces import GenerationSpec
from facepass.schemas.ids import PhotoId, SessionId
from facepass.schemas.ledger import Origin
from facepass.schemas.settings import DatabaseSettings, KafkaSettings, ModelSettings
from facepass.storage import open_database, open_store
from facepass.storage.migrations import migrate
from facepass.storage.reads import read_counts
from facepass.streams.kafka import create_topics, open_publisher

_BATCH = 1000
"""Rows of one transaction of bare, as of ours."""

_LOOK_SECONDS = 0.02
_STOP_SECONDS = 15.0

_BARE_TABLES = """
CREATE TABLE bare_photos (LIKE photos INCLUDING ALL);
CREATE TABLE bare_results (LIKE photo_results INCLUDING ALL);
"""
_BARE_PHOTOS = "COPY bare_photos (session_id, photo_id, s3_key, occurred_at) FROM STDIN"
_BARE_RESULTS = """
COPY bare_results (
    generation, session_id, photo_id, state, occurred_at, next_attempt_at, origin_topic, origin_partition,
    origin_offset
) FROM STDIN
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """PostgreSQL and a broker with nothing else running."""

    directory: Path
    database: DatabaseSettings
    kafka: KafkaSettings
    spec: GenerationSpec


def intake_rows(directory: Path, kind: KafkaKind, model: ModelSettings, sizes: Sizes) -> Iterator[Row]:
    """Publish, then let intake and bare take turns at working that off; no ingest runs beside them."""
    ours, bare = [], []
    with ExitStack() as stack:
        place = _open(stack, directory, kind, model)
        for number in range(sizes.intake_rounds):
            session_id = SessionId(f"backlog-{number}")
            origins = asyncio.run(_publish(place, session_id, sizes.intake_events))
            ours.append(sizes.intake_events / asyncio.run(_register(place, session_id, sizes.intake_events)))
            bare.append(sizes.intake_events / asyncio.run(_copy(place, origins)))
    yield Row(
        name="intake, photos registered",
        ours=statistics.median(ours),
        bare=statistics.median(bare),
        unit="events/s",
        goal=reaches(3000, "events/s"),
        note=(
            f"a backlog of {sizes.intake_events:,} events of one session on {kind.label}; bare: an aiokafka"
            " consumer in one process, json.loads, COPY of the same rows into tables of the same kind,"
            f" {_BATCH:,} a transaction, with no look at fences, duplicates or counters; ours is the process, from"
            " its first rows to its last"
        ),
    )


def _open(stack: ExitStack, directory: Path, kind: KafkaKind, model: ModelSettings) -> _Place:
    uri = stack.enter_context(embedded_postgres(directory / "postgres", log=directory / "postgres.log"))
    kafka = stack.enter_context(
        local_kafka(
            kind,
            HOST,
            free_port(HOST),
            directory=directory / "kafka",
            logs=directory,
            report=lambda _: None,
            started=lambda _: None,
        )
    )
    database = DatabaseSettings(database=SecretStr(uri))
    migrate(database)
    asyncio.run(create_topics(kafka))
    with psycopg.connect(uri, autocommit=True) as connection:
        connection.execute(_BARE_TABLES)
    return _Place(directory=directory, database=database, kafka=kafka, spec=read_spec(model))


async def _publish(place: _Place, session_id: SessionId, count: int) -> Sequence[Origin]:
    occurred_at = datetime.now(UTC)
    async with open_publisher(place.kafka) as publisher:
        return await publisher.publish_all(
            [
                PhotoIndexed(
                    session_id=session_id,
                    photo_id=PhotoId(f"{number:08d}"),
                    s3_key=f"{session_id}/{number:08d}.jpg",
                    occurred_at=occurred_at,
                )
                for number in range(count)
            ]
        )


async def _register(place: _Place, session_id: SessionId, count: int) -> float:
    """Seconds from the last look at which nothing was registered until everything was.

    Raises:
        PermanentError: `internal`: intake has ended.
    """
    environment = process_environment(place.database, place.kafka, photos=str(place.directory), settings={})
    command = [sys.executable, "-m", "facepass", "intake"]
    child = start_child("intake", command, log=place.directory / "intake.log", env=environment)
    try:
        async with open_database(place.database) as db:
            store = await open_store(db, place.spec)
            began = perf_counter()
            while (registered := (await read_counts(store, session_id)).pending) < count:
                if not registered:
                    began = perf_counter()
                if not child.running():
                    raise PermanentError(
                        ErrorCode.INTERNAL, f"intake ended; the end of {child.log}:\n{last_lines(child.log)}"
                    )
                await asyncio.sleep(_LOOK_SECONDS)
            return perf_counter() - began
    finally:
        stop_children([child], patience=_STOP_SECONDS)


async def _copy(place: _Place, origins: Sequence[Origin]) -> float:
    """Seconds that bare takes for the records at `origins`."""
    begins: dict[TopicPartition, int] = {}
    for origin in origins:
        partition = TopicPartition(origin.topic, origin.partition)
        begins[partition] = min(begins.get(partition, origin.offset), origin.offset)
    consumer = AIOKafkaConsumer(bootstrap_servers=place.kafka.kafka, enable_auto_commit=False)
    await consumer.start()
    try:
        consumer.assign(list(begins))
        async with await psycopg.AsyncConnection.connect(place.database.database.get_secret_value()) as connection:
            began = perf_counter()
            for partition, offset in begins.items():
                consumer.seek(partition, offset)
            done = 0
            while done < len(origins):
                found = await consumer.getmany(timeout_ms=1000, max_records=_BATCH)
                records = [record for batch in found.values() for record in batch]
                await _copy_rows(connection, records)
                done += len(records)
            return perf_counter() - began
    finally:
        await consumer.stop()


async def _copy_rows(connection: psycopg.AsyncConnection, records: Sequence[ConsumerRecord]) -> None:
    due = datetime.now(UTC) + timedelta(hours=1)
    rows = [(record, json.loads(record.value)) for record in records]
    async with connection.transaction(), connection.cursor() as cursor:
        async with cursor.copy(_BARE_PHOTOS) as copy:
            for _, row in rows:
                await copy.write_row((row["session_id"], row["photo_id"], row["s3_key"], row["occurred_at"]))
        async with cursor.copy(_BARE_RESULTS) as copy:
            for record, row in rows:
                given = (1, row["session_id"], row["photo_id"], "pending", row["occurred_at"], due)
                await copy.write_row((*given, record.topic, record.partition, record.offset))
