"""Plain SQL and plain Kafka reads, around every proxy. Imports nothing of FacePass."""

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeVar

import numpy as np
import psycopg
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError
from faults.loop_thread import LoopThread
from faults.table import Key, Sent
from numpy.typing import NDArray

GROUPS = {
    "facepass-intake": ("photo-indexed", "photo-deleted", "session-deleted", "session-updated"),
    "facepass-ingest": ("photo-indexed",),
}
DEAD_LETTERS = "facepass-dead-letters"
KAFKA_PATIENCE = 60.0
"""Seconds, for a broker that a test has restarted."""

Vectors = NDArray[np.float64]
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class PhotoRow:
    state: str
    error: str | None
    occurred_at: datetime | None
    attempts: int
    faces_stored: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    origin: Sent
    code: str
    headers: Mapping[str, bytes]
    value: bytes | None


@dataclass(slots=True)
class Reader:
    """Attributes:
    database: gives the URI of PostgreSQL, which may have moved since.
    """

    database: Callable[[], str]
    kafka: str
    loop: LoopThread
    _opening: asyncio.Lock = field(default_factory=asyncio.Lock, init=False)
    _kept: tuple[AIOKafkaAdminClient, AIOKafkaConsumer] | None = field(default=None, init=False)

    def close(self) -> None:
        """Disconnect from Kafka; the next question connects anew."""
        self.loop.run(self._close())

    def snapshot(self) -> psycopg.Connection[Any]:
        connection = psycopg.connect(self.database())
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        return connection

    def query(self, statement: str, *values: object) -> list[Any]:
        with psycopg.connect(self.database(), autocommit=True) as connection:
            return connection.execute(statement, values).fetchall()

    def execute(self, statement: str, *values: object) -> None:
        with psycopg.connect(self.database(), autocommit=True) as connection:
            connection.execute(statement, values)

    def rows(self, sessions: Sequence[str]) -> dict[Key, PhotoRow]:
        rows = self.query(
            "SELECT session_id, photo_id, r.state, error, r.occurred_at, attempts, faces_stored"
            " FROM photo_results AS r JOIN generations AS g USING (generation)"
            " WHERE g.state = 'active' AND session_id = ANY(%s)",
            list(sessions),
        )
        return {
            (row[0], row[1]): PhotoRow(
                state=row[2], error=row[3], occurred_at=row[4], attempts=row[5], faces_stored=row[6]
            )
            for row in rows
        }

    def vector_size(self) -> int:
        return int(self.query("SELECT vector_size FROM generations WHERE state = 'active'")[0][0])

    def faces(self, sessions: Sequence[str]) -> dict[Key, list[tuple[Vectors, datetime]]]:
        faces: dict[Key, list[tuple[Vectors, datetime]]] = defaultdict(list)
        for session, photo, vector, at in self.query(
            "SELECT session_id, photo_id, embedding::real[], f.occurred_at FROM face_embeddings AS f"
            " JOIN generations AS g USING (generation) WHERE g.state = 'active' AND session_id = ANY(%s)"
            " ORDER BY session_id, photo_id, face_index",
            list(sessions),
        ):
            faces[session, photo].append((np.array(vector), at))
        return faces

    def fences(self, sessions: Sequence[str]) -> dict[tuple[str, str | None], datetime]:
        rows = self.query(
            "SELECT session_id, NULL, deleted_at FROM sessions WHERE session_id = ANY(%s) UNION ALL"
            " SELECT session_id, photo_id, deleted_at FROM photos WHERE session_id = ANY(%s)",
            list(sessions),
            list(sessions),
        )
        return {(session, photo): fence for session, photo, fence in rows if fence is not None}

    def dead_letters(self) -> list[DeadLetter]:
        """All of them; a redelivered event may have left more than one."""
        letters = []
        for record in self.records(DEAD_LETTERS):
            headers = dict(record.headers)
            letters.append(
                DeadLetter(
                    origin=Sent(
                        headers["facepass-topic"].decode(),
                        int(headers["facepass-partition"]),
                        int(headers["facepass-offset"]),
                    ),
                    code=headers["facepass-error-code"].decode(),
                    headers=headers,
                    value=record.value,
                )
            )
        return letters

    def records(self, topic: str) -> list[Any]:
        """Every record that the topic holds."""
        return self._patiently(lambda: self._records(topic))

    def _patiently(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """A broker that has just started does not answer everything yet."""
        deadline = time.monotonic() + KAFKA_PATIENCE
        while True:
            try:
                return self.loop.run(work())
            except (KafkaError, TimeoutError):
                self.close()
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.3)

    async def _records(self, topic: str) -> list[Any]:
        partitions = await self._partitions([topic])
        consumer = AIOKafkaConsumer(bootstrap_servers=self.kafka, enable_auto_commit=False)
        await consumer.start()
        try:
            consumer.assign(partitions)
            await consumer.seek_to_beginning(*partitions)
            ends = await consumer.end_offsets(partitions)
            found: list[Any] = []
            while any([await consumer.position(partition) < end for partition, end in ends.items()]):
                for records in (await consumer.getmany(timeout_ms=200)).values():
                    found += records
            return found
        finally:
            await consumer.stop()

    async def positions(self) -> tuple[dict[TopicPartition, int], dict[str, dict[TopicPartition, int]]]:
        """Where each topic of Pixora's ends, and what each group has committed of it."""
        partitions = await self._partitions(sorted({topic for topics in GROUPS.values() for topic in topics}))
        admin, consumer = await self._clients()
        committed = {
            group: {
                partition: at.offset
                for partition, at in (await admin.list_consumer_group_offsets(group)).items()
                if at.offset >= 0
            }
            for group in GROUPS
        }
        return await consumer.end_offsets(partitions), committed

    async def _partitions(self, topics: list[str]) -> list[TopicPartition]:
        admin, _ = await self._clients()
        return [
            TopicPartition(topic["topic"], partition["partition"])
            for topic in await admin.describe_topics(topics)
            for partition in topic["partitions"]
        ]

    async def _clients(self) -> tuple[AIOKafkaAdminClient, AIOKafkaConsumer]:
        """Kept between calls: one that knows the topics already answers twenty times as fast."""
        async with self._opening:
            if self._kept is None:
                admin = AIOKafkaAdminClient(bootstrap_servers=self.kafka)
                consumer = AIOKafkaConsumer(bootstrap_servers=self.kafka)
                try:
                    await admin.start()
                    await consumer.start()
                except BaseException:
                    await consumer.stop()
                    await admin.close()
                    raise
                self._kept = admin, consumer
            return self._kept

    async def _close(self) -> None:
        kept, self._kept = self._kept, None
        if kept is not None:
            admin, consumer = kept
            await consumer.stop()
            await admin.close()
