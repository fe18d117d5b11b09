"""Publishes events as Pixora does, with plain aiokafka, and keeps the table of what must come out."""

import json
import random
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.structs import RecordMetadata
from faults.loop_thread import LoopThread
from faults.pictures import Picture
from faults.table import Key, Sent, Table


class Driver:
    """Everything it publishes goes into `table`. Blocks until Kafka has acknowledged it."""

    def __init__(
        self, loop: LoopThread, address: str, pictures: Mapping[str, Picture], randomness: random.Random
    ) -> None:
        self.table = Table()
        self.randomness = randomness
        self.pictures = pictures
        self._loop = loop
        self._producer = loop.run(_start(address))
        self._last = datetime.now(UTC)
        self._numbered = 0

    def close(self) -> None:
        self._loop.run(self._producer.stop())

    def now(self) -> datetime:
        """A time that it has not given before; milliseconds, which every JSON library keeps."""
        now = datetime.now(UTC)
        self._last = max(now.replace(microsecond=now.microsecond // 1000 * 1000), self._last) + timedelta(
            milliseconds=1
        )
        return self._last

    def index(
        self,
        session: str,
        photo: str,
        picture: str,
        *,
        at: datetime | None = None,
        times: int = 1,
        timed: bool = True,
    ) -> datetime:
        """Publish one photo event, `times` over; not `timed`, its time is that of the record."""
        return self.index_many([(session, photo, picture)], at=at, times=times, timed=timed)

    def index_many(
        self,
        photos: Iterable[tuple[str, str, str]],
        *,
        at: datetime | None = None,
        times: int = 1,
        timed: bool = True,
    ) -> datetime:
        """Publish photo events, (session, photo, picture) each, in one go."""
        at = at or self.now()
        listed = [one for one in photos for _ in range(times)]
        sent = self.send_many(
            [
                (
                    "photo-indexed",
                    photo,
                    photo_event(session, photo, self.pictures[picture].key, at if timed else None),
                )
                for session, photo, picture in listed
            ],
            recorded_at=None if timed else at,
        )
        for (session, photo, picture), record in zip(listed, sent, strict=True):
            self.table.photo_indexed((session, photo), at, self.pictures[picture], [record])
        return at

    def delete_photo(self, key: Key, *, at: datetime | None = None, times: int = 1) -> datetime:
        at = at or self.now()
        value = {"session_id": key[0], "photo_id": key[1], "occurred_at": at.isoformat()}
        self.table.photo_deleted(key, at, self.send_many([("photo-deleted", key[0], value)] * times))
        return at

    def delete_session(self, session: str, *, at: datetime | None = None, times: int = 1) -> datetime:
        at = at or self.now()
        value = {"session_id": session, "occurred_at": at.isoformat()}
        self.table.session_deleted(session, at, self.send_many([("session-deleted", session, value)] * times))
        return at

    def poison(self, topic: str, value: bytes | None, codes: Iterable[str], *, key: bytes = b"poison") -> Sent:
        """Publish what must end on the dead letters with one of `codes`."""
        (sent,) = self._loop.run(self._send([(topic, key, value)]))
        self.table.poison[sent] = frozenset(codes)
        return sent

    def send_many(
        self, records: Sequence[tuple[str, str, Mapping[str, Any]]], *, recorded_at: datetime | None = None
    ) -> list[Sent]:
        """Publish (topic, key, JSON value) without telling the table; `recorded_at` is the records' timestamp."""
        encoded = [(topic, key.encode(), json.dumps(value).encode()) for topic, key, value in records]
        return self._loop.run(self._send(encoded, recorded_at))

    def traffic(self, sessions: Sequence[str], *, photos: int, label: str) -> None:
        """What a day brings: mostly new photos, some sent again or with other content, some deletions."""
        for _ in range(photos):
            session = self.randomness.choice(sessions)
            known = [photo for at, photo in self.table.indexed if at == session]
            chance = self.randomness.random()
            if chance < 0.8 or not known:
                self._numbered += 1
                self.index(session, f"{label}-{self._numbered}", self._any_picture())
            elif chance < 0.9:
                self.index(session, self.randomness.choice(known), self._any_picture(), times=2)
            elif chance < 0.98:
                self.delete_photo((session, self.randomness.choice(known)))
            else:
                self.delete_session(session)

    def _any_picture(self) -> str:
        names = list(self.pictures)
        return self.randomness.choices(names, [1 if self.pictures[one].code else 5 for one in names])[0]

    def trickle(self, photos: Sequence[tuple[str, str, str]], *, seconds: float) -> None:
        """Publish photo events one by one, spread evenly over a time."""
        begun = time.monotonic()
        for number, (session, photo, picture) in enumerate(photos):
            time.sleep(max(0.0, begun + seconds * number / len(photos) - time.monotonic()))
            self.index(session, photo, picture)

    async def _send(
        self, records: Sequence[tuple[str, bytes, bytes | None]], recorded_at: datetime | None = None
    ) -> list[Sent]:
        milliseconds = round(recorded_at.timestamp() * 1000) if recorded_at else None
        waiting = [
            await self._producer.send(topic, value, key=key, timestamp_ms=milliseconds)
            for topic, key, value in records
        ]
        sent: list[RecordMetadata] = [await one for one in waiting]
        return [Sent(one.topic, one.partition, one.offset) for one in sent]


def photo_event(session: str, photo: str, s3_key: str, at: datetime | None) -> dict[str, str]:
    fields = {"session_id": session, "photo_id": photo, "s3_key": s3_key}
    return fields if at is None else {**fields, "occurred_at": at.isoformat()}


async def _start(address: str) -> AIOKafkaProducer:
    producer = AIOKafkaProducer(
        bootstrap_servers=address, acks="all", linger_ms=2, max_request_size=4_000_000, request_timeout_ms=60_000
    )
    await producer.start()
    return producer
