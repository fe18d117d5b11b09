"""Writing to Kafka: events of ours and dead letters. Acknowledged by all in-sync replicas."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime

from aiokafka import AIOKafkaProducer
from aiokafka.errors import UnknownError, UnsupportedVersionError

from facepass.schemas.errors import ErrorCode, PermanentError
from facepass.schemas.events import DEAD_LETTERS_TOPIC, Event, PhotoIndexed
from facepass.schemas.ledger import Origin
from facepass.schemas.metrics import dead_letters_total
from facepass.schemas.settings import KafkaSettings
from facepass.streams.kafka.errors import kafka_errors
from facepass.streams.kafka.records import ORIGIN_API, ORIGIN_HEADER, DeadLetter, Headers
from facepass.streams.kafka.topics import DEAD_LETTER_MAX_BYTES

_LARGEST_VALUE = DEAD_LETTER_MAX_BYTES - 64 * 1024
"""What a dead letter holds beside its headers."""


class Publisher:
    """The publisher to Kafka. Every method returns once the brokers have it, and raises as `kafka_errors` does."""

    def __init__(self, producer: AIOKafkaProducer) -> None:
        self._producer = producer

    async def publish(self, event: Event, *, key: str | None = None, origin_api: bool = False) -> Origin:
        """Publish one event, under `key` or the key that its topic prescribes."""
        headers = [(ORIGIN_HEADER, ORIGIN_API)] if origin_api else []
        name = (key or _key(event)).encode()
        return await self.send(event.topic, event.to_bytes(), key=name, headers=headers)

    async def publish_all(self, events: Sequence[Event]) -> list[Origin]:
        """Publish many at once; the result keeps their order, Kafka need not."""
        return list(await asyncio.gather(*(self.publish(event) for event in events)))

    async def publish_dead_letter(self, letter: DeadLetter) -> Origin:
        """Put a record that was given up on `facepass-dead-letters`."""
        value = letter.record.value
        headers = [*letter.record.headers, *_dead_letter_headers(letter)]
        if value is not None and len(value) > _LARGEST_VALUE:
            # An operator may let Pixora's topics hold larger records: the origin says where this one still is.
            headers.append(("facepass-value-omitted", str(len(value)).encode()))
            value = None
        # Other clients can send records with neither key nor value; aiokafka asserts that there is one.
        key = b"" if letter.record.key is None and value is None else letter.record.key
        origin = await self.send(DEAD_LETTERS_TOPIC, value, key=key, headers=headers)
        dead_letters_total.labels(code=letter.code).inc()
        return origin

    async def send(
        self,
        topic: str,
        value: bytes | None,
        *,
        key: bytes | None,
        headers: Headers,
        partition: int | None = None,
        occurred_at: datetime | None = None,
    ) -> Origin:
        """Send a record as it is; its timestamp is `occurred_at`, or else the time of sending."""
        with kafka_errors():
            sent = await self._producer.send_and_wait(
                topic,
                value,
                key=key,
                headers=list(headers),
                partition=partition,
                # Kafka knows no time before 1970.
                timestamp_ms=None if occurred_at is None else max(0, int(occurred_at.timestamp() * 1000)),
            )
        return Origin(topic=sent.topic, partition=sent.partition, offset=sent.offset)


@asynccontextmanager
async def open_publisher(settings: KafkaSettings) -> AsyncIterator[Publisher]:
    """Open a producer for the life of the context.

    It is idempotent unless `FACEPASS_KAFKA_IDEMPOTENCE=false`: a setting and not a guess at run time, because a
    producer that silently falls back would let a real broker's passing refusal turn into duplicates.

    Raises:
        TransientError: `broker_unavailable`.
        PermanentError: `invalid_setting`, the broker knows no idempotent producers.
    """
    producer = AIOKafkaProducer(
        bootstrap_servers=settings.kafka,
        acks="all",
        enable_idempotence=settings.kafka_idempotence,
        max_request_size=DEAD_LETTER_MAX_BYTES,
    )
    try:
        await _start(producer)
        yield Publisher(producer)
    finally:
        await producer.stop()


async def _start(producer: AIOKafkaProducer) -> None:
    with kafka_errors():
        try:
            await producer.start()
        except (UnknownError, UnsupportedVersionError) as exc:
            raise PermanentError(
                ErrorCode.INVALID_SETTING,
                "the broker refuses idempotent producers: set FACEPASS_KAFKA_IDEMPOTENCE=false for the embedded"
                " broker, and nowhere else",
            ) from exc


def _key(event: Event) -> str:
    """The key: photos go to all workers, so that one large session uses every one; the rest goes by session."""
    return event.photo_id if isinstance(event, PhotoIndexed) else event.session_id


def _dead_letter_headers(letter: DeadLetter) -> list[tuple[str, bytes]]:
    origin = letter.record.origin
    fields = {
        "topic": origin.topic,
        "partition": str(origin.partition),
        "offset": str(origin.offset),
        "occurred-at": letter.occurred_at.isoformat(),
        "error-code": str(letter.code),
        "error-text": letter.text,
        **({"rebuilt": "true"} if letter.rebuilt else {}),
    }
    return [(f"facepass-{name}", value.encode()) for name, value in fields.items()]
