"""Topics as they are created and compared, and what the publisher puts on them."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from support.streams_support import kafka_settings, read_topic, topic_names, with_topics

from facepass.local.broker import embedded_broker
from facepass.local.ports import free_port
from facepass.schemas.errors import ErrorCode, PermanentError, TransientError
from facepass.schemas.events import (
    DEAD_LETTERS_TOPIC,
    IndexUpdate,
    PhotoDeleted,
    PhotoIndexed,
    SessionDeleted,
    SessionUpdated,
)
from facepass.schemas.ledger import Origin, UpdateStatus
from facepass.schemas.settings import KafkaSettings
from facepass.streams.kafka.publisher import open_publisher
from facepass.streams.kafka.records import DeadLetter, Record
from facepass.streams.kafka.topics import check_topics, create_topics, topic_specs

NOW = datetime(2026, 5, 9, 12, 30, tzinfo=UTC)
HOUR = 3_600_000


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[str]:
    with embedded_broker("127.0.0.1", free_port(), log=tmp_path / "broker.log") as address:
        yield address


async def create(address: str, name: str, **config: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=address)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(name, 3, 1, topic_configs=config)])
    finally:
        await admin.close()


@pytest.mark.parametrize(("hours", "kept"), [(-1, "-1"), (0, "0"), (48, str(48 * HOUR))])
def test_what_a_replay_needs_is_kept_equally_long(hours: int, kept: str) -> None:
    specs = {spec.name: spec for spec in topic_specs(KafkaSettings(photo_retention_hours=hours))}
    assert len(specs) == 6
    for name in ("photo-indexed", "photo-deleted", "session-deleted", "session-updated"):
        assert specs[name].config["retention.ms"] == kept
    assert specs["index-updates"].config["retention.ms"] == str(24 * HOUR)
    assert specs[DEAD_LETTERS_TOPIC].config["retention.ms"] == str(30 * 24 * HOUR)
    assert {spec.config["cleanup.policy"] for spec in specs.values()} == {"delete"}
    assert {spec.partitions for spec in specs.values()} == {12}


async def test_topics_are_created_and_what_differs_is_reported_not_changed(broker: str) -> None:
    await create(broker, "photo-indexed", **{"retention.ms": "1000", "cleanup.policy": "delete"})
    settings = kafka_settings(broker, partitions=2)
    expected = [
        "photo-indexed: 3 partitions, wanted 2",
        "photo-indexed: retention.ms is 1000, wanted -1",
        "photo-indexed: retention.bytes is the default of the broker, wanted -1",
    ]
    assert await create_topics(settings) == expected
    assert await create_topics(settings) == expected
    assert await topic_names(broker) == {spec.name for spec in topic_specs(settings)}


async def test_the_check_names_missing_topics_and_creates_none(broker: str) -> None:
    with pytest.raises(TransientError, match="facepass topics create") as caught:
        await check_topics(kafka_settings(broker), ["photo-indexed"])
    assert caught.value.code is ErrorCode.TOPIC_MISSING
    assert await topic_names(broker) == set()


async def test_the_check_refuses_compaction_and_warns_of_short_deletions(broker: str) -> None:
    await create(broker, "photo-deleted", **{"cleanup.policy": "compact,delete"})
    await create(broker, "session-deleted", **{"retention.ms": "1000"})
    settings = await with_topics(broker)
    with pytest.raises(PermanentError, match=r"photo-deleted has cleanup\.policy=compact,delete") as caught:
        await check_topics(settings, ["photo-indexed", "photo-deleted"])
    assert caught.value.code is ErrorCode.TOPIC_COMPACTED
    (warning,) = await check_topics(settings, ["photo-indexed"])
    assert "session-deleted is kept for a shorter time than photo-indexed" in warning


async def test_an_absent_broker_is_transient() -> None:
    settings = kafka_settings(f"127.0.0.1:{free_port()}")
    with pytest.raises(TransientError) as caught:
        await check_topics(settings, ["photo-indexed"])
    assert caught.value.code is ErrorCode.BROKER_UNAVAILABLE
    with pytest.raises(TransientError):
        async with open_publisher(settings):
            pass


async def test_the_embedded_broker_refuses_an_idempotent_producer_with_what_to_set(broker: str) -> None:
    settings = kafka_settings(broker).model_copy(update={"kafka_idempotence": True})
    with pytest.raises(PermanentError, match="FACEPASS_KAFKA_IDEMPOTENCE=false") as caught:
        async with open_publisher(settings):
            pass
    assert caught.value.code is ErrorCode.INVALID_SETTING


async def test_keys_are_the_topics_and_deletions_of_the_api_are_marked(broker: str) -> None:
    settings = await with_topics(broker)
    events = [
        PhotoIndexed(session_id="s", photo_id="p", s3_key="k", occurred_at=NOW),
        PhotoDeleted(session_id="s", photo_id="p", occurred_at=NOW),
        SessionUpdated(session_id="s", occurred_at=NOW),
        IndexUpdate(
            session_id="s", photo_id="p", occurred_at=NOW, generation=1, revision=2, status=UpdateStatus.INDEXED
        ),
    ]
    async with open_publisher(settings) as publisher:
        origins = await publisher.publish_all(events)
        await publisher.publish(SessionDeleted(session_id="s", occurred_at=NOW), origin_api=True)
    assert [origin.topic for origin in origins] == [event.topic for event in events]
    keys = {event.topic: (await read_topic(broker, event.topic))[0].key for event in events}
    assert keys == {
        "photo-indexed": b"p",
        "photo-deleted": b"s",
        "session-updated": b"s",
        "index-updates": b"s",
    }
    (deletion,) = await read_topic(broker, "session-deleted")
    assert deletion.headers == (("facepass-origin", b"api"),)
    assert json.loads(deletion.value) == {"session_id": "s", "occurred_at": "2026-05-09T12:30:00Z"}


@pytest.mark.parametrize("value", [b"\xff\x00 not text", None])
async def test_a_dead_letter_keeps_the_original_and_says_why(broker: str, value: bytes | None) -> None:
    settings = await with_topics(broker)
    origin = Origin(topic="photo-indexed", partition=3, offset=7)
    letter = DeadLetter(
        record=Record(origin=origin, value=value, key=None, headers=(("trace", b"1"),), recorded_at=NOW),
        occurred_at=NOW,
        code=ErrorCode.INVALID_EVENT,
        text="photo-indexed: the value is not JSON",
        rebuilt=True,
    )
    async with open_publisher(settings) as publisher:
        await publisher.publish_dead_letter(letter)
    (found,) = await read_topic(broker, DEAD_LETTERS_TOPIC)
    assert found.value == value
    assert dict(found.headers) == {
        "trace": b"1",
        "facepass-topic": b"photo-indexed",
        "facepass-partition": b"3",
        "facepass-offset": b"7",
        "facepass-occurred-at": b"2026-05-09T12:30:00+00:00",
        "facepass-error-code": b"invalid_event",
        "facepass-error-text": b"photo-indexed: the value is not JSON",
        "facepass-rebuilt": b"true",
    }


async def test_a_record_too_large_for_the_dead_letters_leaves_its_headers(broker: str) -> None:
    settings = await with_topics(broker)
    origin = Origin(topic="photo-indexed", partition=0, offset=1)
    letter = DeadLetter(
        record=Record(origin=origin, value=b"x" * 3_000_000, key=b"k", headers=(), recorded_at=NOW),
        occurred_at=NOW,
        code=ErrorCode.INVALID_EVENT,
        text="not JSON",
    )
    async with open_publisher(settings) as publisher:
        await publisher.publish_dead_letter(letter)
    (found,) = await read_topic(broker, DEAD_LETTERS_TOPIC)
    assert (found.key, found.value) == (b"k", None)
    assert dict(found.headers)["facepass-value-omitted"] == b"3000000"


def test_only_a_marked_deletion_may_lead_its_record() -> None:
    ahead = SessionDeleted(session_id="s", occurred_at=datetime(2026, 5, 9, 13, tzinfo=UTC)).to_bytes()
    origin = Origin(topic="session-deleted", partition=0, offset=0)
    plain = Record(origin=origin, value=ahead, key=None, headers=(), recorded_at=NOW)
    with pytest.raises(PermanentError) as caught:
        plain.decode(SessionDeleted)
    assert caught.value.code is ErrorCode.OCCURRED_AT_AHEAD
    marked = Record(origin=origin, value=ahead, key=None, headers=(("facepass-origin", b"api"),), recorded_at=NOW)
    assert marked.decode(SessionDeleted).session_id == "s"
