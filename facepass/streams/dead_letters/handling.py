"""Replay and discard of dead letters, and how many are open."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from aiokafka import AIOKafkaConsumer, TopicPartition

from facepass.schemas.errors import ErrorCode, PermanentError, TransientError
from facepass.schemas.events import DEAD_LETTERS_TOPIC
from facepass.schemas.logs import get_logger
from facepass.schemas.metrics import dead_letters_oldest_age_seconds, dead_letters_open
from facepass.schemas.settings import KafkaSettings
from facepass.streams.dead_letters.stored_dead_letters import (
    HANDLED_HEADER,
    DeadLetterId,
    Handled,
    OpenDeadLetters,
    StoredDeadLetter,
    read_dead_letter,
)
from facepass.streams.kafka import (
    Publisher,
    count_partitions,
    kafka_errors,
    open_topic_reader,
    record_from_consumer,
)

_log = get_logger(__name__)

_AT_ONCE = 100
_LOOK_SECONDS = 5.0
_AGAIN_SECONDS = 15.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """A choice of dead letters: those that fulfil every condition; one that is None or empty always holds.

    Attributes:
        topic: that the event came from.
        since: it is from then or later.
        ids: it is one of these.
    """

    code: str | None = None
    topic: str | None = None
    session_id: str | None = None
    photo_id: str | None = None
    since: datetime | None = None
    ids: frozenset[DeadLetterId] = frozenset()

    def means(self, letter: StoredDeadLetter) -> bool:
        """True if the dead letter fulfils every condition."""
        return (
            (self.code is None or letter.code == self.code)
            and (self.topic is None or letter.origin.topic == self.topic)
            and (self.session_id is None or letter.session_id == self.session_id)
            and (self.photo_id is None or letter.photo_id == self.photo_id)
            and (self.since is None or letter.given_up_at >= self.since)
            and (not self.ids or letter.id in self.ids)
        )


async def read_open_dead_letters(
    kafka: KafkaSettings, selection: Selection
) -> AsyncIterator[list[StoredDeadLetter]]:
    """The open dead letters that are meant, some at a time, up to the topic's end as it was at the start.

    The topic is read twice: which ones are open is known at its end only, and they are not kept in memory.

    Raises:
        PermanentError: `letter_not_found`, one of the ids is of no open dead letter; before any is handed out.
        TransientError: `broker_unavailable`, `topic_missing`.
    """
    async with open_topic_reader(kafka, [DEAD_LETTERS_TOPIC]) as reader:
        known = OpenDeadLetters()
        async for records in reader.read(DEAD_LETTERS_TOPIC):
            known.add(records)
        for letter_id in sorted(selection.ids):
            if not known.is_open(letter_id):
                raise PermanentError(ErrorCode.LETTER_NOT_FOUND, f"there is no open dead letter {letter_id}")
        async for records in reader.read(DEAD_LETTERS_TOPIC):
            letters = [letter for letter in map(read_dead_letter, records) if letter is not None]
            if meant := [one for one in letters if known.is_open(one.id) and selection.means(one)]:
                yield meant


async def handle_dead_letters(publisher: Publisher, letters: Sequence[StoredDeadLetter], how: Handled) -> int:
    """Replay dead letters, if that is how, then mark them as handled; returns how many.

    Incomplete ones cannot be replayed and stay open. A crash between the two halves leaves letters open that were
    replayed: to replay them again changes nothing.

    Raises: as `Publisher.send`.
    """
    able = [letter for letter in letters if letter.complete or how is not Handled.REPLAYED]
    for begin in range(0, len(able), _AT_ONCE):
        some = able[begin : begin + _AT_ONCE]
        if how is Handled.REPLAYED:
            await _each(some, lambda letter: send_again(publisher, letter))
        await _each(some, lambda letter: _mark(publisher, letter, how))
    return len(able)


async def send_again(publisher: Publisher, letter: StoredDeadLetter) -> object:
    """Publish the event as it came, where it came from.

    The record gets the time that was resolved when the event was given up: one without an `occurred_at` of its own
    keeps its time, and so passes no fence of a deletion that came after it.
    """
    # Intake, and of a photo ingest too, consume it as any other event.
    return await publisher.send(
        letter.origin.topic,
        letter.value,
        key=letter.key,
        headers=letter.headers,
        occurred_at=letter.occurred_at,
    )


async def _mark(publisher: Publisher, letter: StoredDeadLetter, how: Handled) -> object:
    return await publisher.send(
        DEAD_LETTERS_TOPIC,
        b"",
        key=str(letter.id).encode(),
        headers=[(HANDLED_HEADER, how.encode())],
        # Behind the letter: who reads the partition in order has met the letter first.
        partition=letter.id.partition,
    )


async def _each(
    letters: Sequence[StoredDeadLetter], operation: Callable[[StoredDeadLetter], Awaitable[object]]
) -> None:
    await asyncio.gather(*(operation(letter) for letter in letters))


async def watch_open_dead_letters(kafka: KafkaSettings) -> None:
    """Keep the metrics of open dead letters, for ever; every few seconds what was added to the topic is read."""
    while True:
        try:
            await _follow(kafka)
        except TransientError as exc:
            _log.warning("dead_letters_uncounted", error=exc)
        await asyncio.sleep(_AGAIN_SECONDS)


async def _follow(kafka: KafkaSettings) -> None:
    counts = await count_partitions(kafka, [DEAD_LETTERS_TOPIC])
    partitions = [TopicPartition(topic, number) for topic, count in counts.items() for number in range(count)]
    if not partitions:
        raise TransientError(ErrorCode.TOPIC_MISSING, f"no topic {DEAD_LETTERS_TOPIC}")
    consumer = AIOKafkaConsumer(bootstrap_servers=kafka.kafka, auto_offset_reset="earliest")
    try:
        with kafka_errors():
            await consumer.start()
            ends = await consumer.end_offsets(partitions)
            consumer.assign(partitions)
            await consumer.seek_to_beginning(*partitions)
            await _count(consumer, ends)
    finally:
        await consumer.stop()


async def _count(consumer: AIOKafkaConsumer, ends: dict[TopicPartition, int]) -> None:
    known = OpenDeadLetters()
    behind = set(ends)
    while True:
        found = await consumer.getmany(timeout_ms=1000)
        for messages in found.values():
            known.add(map(record_from_consumer, messages))
        # Half of what is there would be a false number.
        behind = {one for one in behind if await consumer.position(one) < ends[one]}
        if behind:
            continue
        for partition, begin in (await consumer.beginning_offsets(list(ends))).items():
            known.forget_before(partition.partition, begin)
        oldest = known.oldest()
        dead_letters_open.set(known.count)
        dead_letters_oldest_age_seconds.set(0.0 if oldest is None else max(0.0, time.time() - oldest))
        await asyncio.sleep(_LOOK_SECONDS)
