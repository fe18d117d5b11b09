"""`facepass dead-letters`, on both kinds of broker: what is listed, shown, replayed and discarded."""

import asyncio
import json
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.structs import ConsumerRecord
from support.streams_support import eventually, read_topic
from typer.testing import CliRunner, Result

from facepass.cli.command_line import app
from facepass.schemas.errors import ErrorCode, FacePassError
from facepass.schemas.events import DEAD_LETTERS_TOPIC
from facepass.schemas.ledger import Origin
from facepass.schemas.metrics import dead_letters_oldest_age_seconds, dead_letters_open
from facepass.schemas.settings import KafkaSettings
from facepass.streams.dead_letters import handling as streams_dead_letters
from facepass.streams.dead_letters.handling import (
    Selection,
    read_open_dead_letters,
    send_again,
    watch_open_dead_letters,
)
from facepass.streams.kafka.publisher import open_publisher
from facepass.streams.kafka.records import DeadLetter, Record
from facepass.streams.kafka.topics import create_topics

THEN = datetime(2026, 5, 9, 12, 30, 0, 123000, tzinfo=UTC)

Run = Callable[..., Result]


@pytest.fixture(params=["embedded", "apache"])
def settings(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> KafkaSettings:
    """A broker with FacePass's topics. They may hold letters of other tests: these have a session of their own."""
    address: str = request.getfixturevalue("kafka" if request.param == "embedded" else "apache")
    if request.param == "embedded":
        monkeypatch.setenv("FACEPASS_KAFKA_IDEMPOTENCE", "false")
    monkeypatch.setenv("FACEPASS_KAFKA", address)
    monkeypatch.setenv("FACEPASS_TOPIC_PARTITIONS", "2")
    settings = KafkaSettings()
    asyncio.run(create_topics(settings))
    return settings


@pytest.fixture
def facepass() -> Run:
    def run(*arguments: str, code: int = 0) -> Result:
        result = CliRunner().invoke(app, ["dead-letters", *arguments])
        assert result.exit_code == code, result.output
        return result

    return run


def letter(session: str, photo: str, **fields: object) -> DeadLetter:
    value = json.dumps({"session_id": session, "photo_id": photo, "s3_key": "a.jpg"}).encode()
    given = {
        "value": value,
        "key": photo.encode(),
        "headers": (("trace", b"abc"), ("facepass-topic", b"the producer's own")),
        "origin": Origin(topic="photo-indexed", partition=1, offset=7),
        "recorded_at": THEN,
    }
    code = fields.pop("code", ErrorCode.PHOTO_NOT_FOUND)
    record = Record(**(given | fields))  # type: ignore[arg-type]
    return DeadLetter(record=record, occurred_at=THEN, code=code, text="there is no such object")


def give_up(settings: KafkaSettings, *letters: DeadLetter) -> None:
    async def send() -> None:
        async with open_publisher(settings) as publisher:
            for one in letters:
                await publisher.publish_dead_letter(one)

    asyncio.run(send())


def records(settings: KafkaSettings, topic: str, text: str) -> list[ConsumerRecord[bytes, bytes]]:
    found = asyncio.run(read_topic(settings.kafka, topic))
    return [one for one in found if text.encode() in (one.value or b"")]


def letter_ids(settings: KafkaSettings, session: str) -> list[str]:
    """Ids of the open letters of a session."""

    async def read() -> list[str]:
        opened = read_open_dead_letters(settings, Selection(session_id=session))
        found = [one async for some in opened for one in some]
        return [str(one.id) for one in sorted(found, key=lambda one: one.photo_id or "")]

    return asyncio.run(read())


def new_session() -> str:
    return f"letters-{uuid.uuid4().hex}"


def test_a_replayed_event_is_what_came_in_and_its_letter_is_no_longer_open(
    settings: KafkaSettings, facepass: Run
) -> None:
    session = new_session()
    give_up(settings, letter(session, "a"), letter(session, "b"))
    first, second = letter_ids(settings, session)

    assert "replayed 1 dead letters" in facepass("replay", first).output

    (sent,) = records(settings, "photo-indexed", session)
    assert (sent.key, json.loads(sent.value)["photo_id"]) == (b"a", "a")
    assert list(sent.headers) == [("trace", b"abc"), ("facepass-topic", b"the producer's own")]
    assert sent.timestamp == int(THEN.timestamp() * 1000), "an event without its own time keeps its old one"
    assert letter_ids(settings, session) == [second]
    again = facepass("replay", first, code=1)
    assert isinstance(again.exception, FacePassError)
    assert again.exception.code is ErrorCode.LETTER_NOT_FOUND
    assert "replayed 1 dead letters" in facepass("replay", "--session", session).output
    assert "replayed 0 dead letters" in facepass("replay", "--session", session).output
    assert len(records(settings, "photo-indexed", session)) == 2


def test_a_crash_between_replay_and_mark_replays_again(settings: KafkaSettings, facepass: Run) -> None:
    session = new_session()
    give_up(settings, letter(session, "a"))

    async def crash() -> None:
        async with open_publisher(settings) as publisher:
            async for letters in read_open_dead_letters(settings, Selection(session_id=session)):
                for one in letters:
                    await send_again(publisher, one)

    asyncio.run(crash())
    assert len(letter_ids(settings, session)) == 1
    facepass("replay", "--session", session)
    assert len(records(settings, "photo-indexed", session)) == 2
    assert letter_ids(settings, session) == []


def test_discarded_letters_are_not_published(settings: KafkaSettings, facepass: Run) -> None:
    session = new_session()
    give_up(settings, letter(session, "a"))
    assert "discarded 1 dead letters" in facepass("discard", "--session", session, "--photo", "a").output
    assert (letter_ids(settings, session), records(settings, "photo-indexed", session)) == ([], [])


def test_list_counts_open_letters_by_cause(settings: KafkaSettings, facepass: Run) -> None:
    session = new_session()
    topic = f"topic-{uuid.uuid4().hex[:8]}"
    here = Origin(topic=topic, partition=0, offset=0)
    bad = {"origin": here, "code": ErrorCode.INVALID_EVENT}
    give_up(
        settings, *(letter(session, str(number), origin=here) for number in range(3)), letter(session, "x", **bad)
    )

    def counted() -> list[list[str]]:
        lines = [line.split() for line in facepass("list").output.splitlines() if topic in line]
        return [line[:2] for line in lines]

    assert counted() == [["3", "photo_not_found"], ["1", "invalid_event"]]
    facepass("discard", "--topic", topic, "--code", "photo_not_found", "--photo", "1")
    assert counted() == [["2", "photo_not_found"], ["1", "invalid_event"]]


def test_options_select_together(settings: KafkaSettings, facepass: Run) -> None:
    session = new_session()
    other = Origin(topic="photo-deleted", partition=0, offset=0)
    give_up(
        settings,
        letter(session, "a"),
        letter(session, "b", code=ErrorCode.DAMAGED_IMAGE),
        letter(session, "c", origin=other),
        letter(session, "d", value=b"no JSON", key=session.encode()),
    )

    def shown(*options: str) -> list[str]:
        lines = facepass("show", "--session", session, *options).output.splitlines()
        return sorted(line.split()[1] for line in lines if line.startswith("  photo"))

    assert shown() == ["a", "b", "c"], "what is no JSON names no session"
    assert shown("--code", "damaged_image") == ["b"]
    assert shown("--topic", "photo-deleted") == ["c"]
    assert shown("--photo", "a") == ["a"]
    assert shown("--since", "1h") == ["a", "b", "c"]
    later = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    assert shown("--since", later) == []
    assert shown(letter_ids(settings, session)[1], "--code", "damaged_image") == ["b"]
    facepass("discard", "--session", session)


def test_what_is_shown_cannot_command_a_terminal(settings: KafkaSettings, facepass: Run) -> None:
    session = new_session()
    give_up(settings, letter(session, "\x1b[2Jphoto", headers=(("trace", b"\x1b]0;title\x07"),)))
    output = facepass("show", "--session", session).output
    assert "\x1b" not in output
    assert "\\x1b[2Jphoto" in output
    assert "s3_key" not in output, "the ids alone of what the event says"
    facepass("discard", "--session", session)


def test_an_event_that_was_too_large_for_its_letter_is_left_open(settings: KafkaSettings, facepass: Run) -> None:
    session = new_session()
    topic = f"topic-{uuid.uuid4().hex[:8]}"
    here = Origin(topic=topic, partition=0, offset=0)
    give_up(settings, letter(session, "a", value=b"x" * 2_100_000, origin=here))
    assert "1 cannot be replayed" in facepass("replay", "--topic", topic).output
    assert "too large" in facepass("show", "--topic", topic).output
    assert "discarded 1" in facepass("discard", "--topic", topic).output


def test_replay_and_discard_demand_a_choice(settings: KafkaSettings, facepass: Run) -> None:
    del settings
    for command in ("replay", "discard"):
        assert "say which letters" in facepass(command, code=2).output
        assert "say which letters" in facepass(command, "--all", "--photo", "a", code=2).output
    assert isinstance(facepass("show", "1-2", code=1).exception, FacePassError)
    assert "neither a time" in facepass("show", "--since", "yesterday", code=2).output


async def test_the_metrics_follow_the_topic(kafka: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams_dead_letters, "_LOOK_SECONDS", 0.1)
    settings = KafkaSettings(kafka=kafka, kafka_idempotence=False, topic_partitions=2)
    await create_topics(settings)
    session = new_session()
    dead_letters_open.set(-1)
    async with open_publisher(settings) as publisher:
        await publisher.publish_dead_letter(letter(session, "a"))
    task = asyncio.create_task(watch_open_dead_letters(settings))
    try:
        async with open_publisher(settings) as publisher:
            await eventually(lambda: _gauge(dead_letters_open) > 0)
            before = _gauge(dead_letters_open)
            await publisher.publish_dead_letter(letter(session, "b"))
            await publisher.publish_dead_letter(letter(session, "c"))
            await eventually(lambda: _gauge(dead_letters_open) == before + 2)
            async for letters in read_open_dead_letters(settings, Selection(session_id=session)):
                await streams_dead_letters.handle_dead_letters(
                    publisher, letters, streams_dead_letters.Handled.DISCARDED
                )
            await eventually(lambda: _gauge(dead_letters_open) == before - 1)
            # somebody else's record is none
            await _send(kafka, b"foreign")
            await publisher.publish_dead_letter(letter(session, "d"))
            await eventually(lambda: _gauge(dead_letters_open) == before)
            await eventually(lambda: _gauge(dead_letters_oldest_age_seconds) > 1)
    finally:
        task.cancel()
        await asyncio.wait([task])


async def _send(kafka: str, value: bytes) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=kafka)
    await producer.start()
    try:
        await producer.send_and_wait(DEAD_LETTERS_TOPIC, value)
    finally:
        await producer.stop()


def _gauge(gauge: object) -> float:
    value: float = gauge._value.get()  # type: ignore[attr-defined]
    return value
