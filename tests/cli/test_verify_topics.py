"""`facepass verify` on topics: events that the ledger does not account for, deletions without a fence, a lag."""

import json
from collections.abc import AsyncIterator, Iterator
from datetime import datetime

import numpy as np
import pytest
from aiokafka import AIOKafkaProducer
from support.ledger import Storage, at, open_storage, photo_event, random_vector
from support.shard_rows import index
from support.streams_support import commit, with_topics

from facepass.cli.verifying.comparison import Comparison
from facepass.cli.verifying.topic_comparison import compare_topics
from facepass.cli.verifying.verification_run import report_differences
from facepass.local.broker import embedded_broker
from facepass.local.ports import free_port
from facepass.schemas.events import PhotoDeleted, PhotoIndexed, SessionDeleted
from facepass.schemas.ids import PhotoId, SessionId
from facepass.schemas.settings import DatabaseSettings, KafkaSettings
from facepass.storage.writes import delete_photo, delete_session, register_photos
from facepass.streams.intake.intake_process import INTAKE_GROUP

Sent = tuple[str, dict[str, object] | bytes]

SENT: list[Sent] = [
    (PhotoIndexed.topic, {"session_id": "s", "photo_id": "p", "s3_key": "k", "occurred_at": at(1).isoformat()}),
    (PhotoIndexed.topic, {"session_id": "s", "photo_id": "p", "s3_key": "k", "occurred_at": at(0).isoformat()}),
    (PhotoIndexed.topic, {"session_id": "s", "photo_id": "gone", "s3_key": "k", "occurred_at": at(0).isoformat()}),
    (PhotoIndexed.topic, {"session_id": "s", "photo_id": "gone", "s3_key": "k"}),
    (PhotoIndexed.topic, b"no event"),
    (
        PhotoIndexed.topic,
        {"session_id": "t", "photo_id": "never", "s3_key": "k", "occurred_at": at(0).isoformat()},
    ),
    (PhotoIndexed.topic, {"session_id": "s", "photo_id": "p", "s3_key": "k"}),
    (PhotoDeleted.topic, {"session_id": "s", "photo_id": "gone", "occurred_at": at(5).isoformat()}),
    (PhotoDeleted.topic, b"no event"),
    (SessionDeleted.topic, {"session_id": "t", "occurred_at": at(5).isoformat()}),
    (SessionDeleted.topic, {"session_id": "t", "occurred_at": at(4).isoformat()}),
]
"""Old and new, deleted, without a time, no event at all, in records without a timestamp: all accounted for by what
`storage` writes."""


@pytest.fixture
async def storage(database_settings: DatabaseSettings) -> AsyncIterator[Storage]:
    async with open_storage(database_settings) as opened:
        await register_photos(opened.store, [photo_event("s", "p", 1)])
        await index(opened, "s", "p", np.stack([random_vector("p")]), seconds=1)
        await delete_photo(opened.store, SessionId("s"), PhotoId("gone"), at(5))
        await delete_session(opened.store, SessionId("t"), at(5))
        yield opened


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with embedded_broker("127.0.0.1", free_port(), log=tmp_path_factory.mktemp("b") / "broker.log") as address:
        yield address


@pytest.fixture
async def kafka_settings(broker: str) -> KafkaSettings:
    """Topics that hold SENT, and nothing since: every test reads them anew."""
    settings = await with_topics(broker)
    if broker not in _published:
        await publish(broker, SENT)
        _published.add(broker)
    for topic, end in {PhotoIndexed.topic: 7, PhotoDeleted.topic: 2, SessionDeleted.topic: 2}.items():
        await commit(broker, INTAKE_GROUP, topic, end)
    return settings


_published: set[str] = set()


async def publish(broker: str, sent: list[Sent]) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=broker)
    await producer.start()
    for topic, value in sent:
        data = value if isinstance(value, bytes) else json.dumps(value).encode()
        await producer.send_and_wait(topic, data, timestamp_ms=0 if b"occurred_at" not in data else None)
    await producer.stop()


async def found(storage: Storage, kafka: KafkaSettings, session: str | None = None) -> list[str]:
    comparison = Comparison(
        store=storage.store,
        session=SessionId(session) if session else None,
        patience=0,
    )
    return [f"{one.where}: {one.what}: {one.found}" async for one in compare_topics(comparison, kafka)]


async def test_events_that_are_accounted_for_show_no_difference(
    storage: Storage, kafka_settings: KafkaSettings
) -> None:
    assert await found(storage, kafka_settings) == []


def text(time: datetime) -> str:
    return time.isoformat()


PLANTED = {
    "a missing row": (
        "WITH r AS (DELETE FROM photo_results WHERE photo_id = 'p') DELETE FROM photos WHERE photo_id = 'p'",
        [
            "photo-indexed[0]@0, photo 'p' of session 's': ledger row of the event: none",
            "photo-indexed[0]@1, photo 'p' of session 's': ledger row of the event: none",
            "photo-indexed[0]@6, photo 'p' of session 's': ledger row of the event: none",
        ],
    ),
    "a row of an older event": (
        "UPDATE photo_results SET occurred_at = occurred_at - interval '1 s' WHERE photo_id = 'p'",
        [f"photo-indexed[0]@0, photo 'p' of session 's': ledger row of the event: a row of {text(at(0))}"],
    ),
    "a photo's fence taken away": (
        "UPDATE photos SET deleted_at = NULL WHERE photo_id = 'gone'",
        [
            "photo-indexed[0]@2, photo 'gone' of session 's': ledger row of the event: none",
            "photo-indexed[0]@3, photo 'gone' of session 's': ledger row of the event: none",
            "photo-deleted[0]@0, photo 'gone' of session 's': fence of the deletion: none",
        ],
    ),
    "a session's fence lowered": (
        "UPDATE sessions SET deleted_at = deleted_at - interval '1 s' WHERE session_id = 't'",
        [f"session-deleted[0]@0, session 't': fence of the deletion: a fence of {text(at(4))}"],
    ),
}


@pytest.mark.parametrize("name", PLANTED)
async def test_a_planted_difference_is_found_and_named(
    storage: Storage, kafka_settings: KafkaSettings, name: str
) -> None:
    statement, expected = PLANTED[name]
    await storage.execute(statement)
    assert await found(storage, kafka_settings) == expected
    session = "t" if "session 't'" in expected[0] else "s"
    assert await found(storage, kafka_settings, session) == expected
    assert await found(storage, kafka_settings, "another") == []


async def test_a_lag_is_named_and_what_lies_behind_it_is_left_out(
    storage: Storage, kafka_settings: KafkaSettings, broker: str
) -> None:
    await storage.execute("DELETE FROM photo_results WHERE photo_id = 'p'")
    await commit(broker, INTAKE_GROUP, PhotoIndexed.topic, 1)
    assert await found(storage, kafka_settings) == [
        "photo-indexed[0]: offset of facepass-intake: 1",
        "photo-indexed[0]@0, photo 'p' of session 's': ledger row of the event: none",
    ]


async def test_a_row_that_comes_a_moment_later_is_no_difference(
    storage: Storage, kafka_settings: KafkaSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    await storage.execute("UPDATE sessions SET deleted_at = deleted_at - interval '1 s' WHERE session_id = 't'")

    async def meanwhile(_seconds: float) -> None:
        await delete_session(storage.store, SessionId("t"), at(5))

    monkeypatch.setattr("facepass.cli.verifying.comparison.asyncio.sleep", meanwhile)
    assert await found(storage, kafka_settings) == []


async def test_the_report_names_each_difference_in_one_line(
    storage: Storage, kafka_settings: KafkaSettings, capsys: pytest.CaptureFixture[str]
) -> None:
    comparison = Comparison(store=storage.store, patience=0)
    assert await report_differences(comparison, kafka_settings, [], repair=False) == 0
    assert capsys.readouterr().out == (
        "compared ledger, topics and no shards, since no --replica was given: no differences\n"
    )
    await storage.execute("UPDATE session_generations SET pending = 9 WHERE session_id = 's'")
    await storage.execute("UPDATE sessions SET deleted_at = deleted_at - interval '1 s' WHERE session_id = 't'")
    assert await report_differences(comparison, kafka_settings, ["http://127.0.0.1:1"], repair=False) == 3
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines[:3]] == ["ledger", "shards", "topics"]
    assert "session 's': counter pending: expected 0, found 9. To do: " in lines[0]
    assert lines[3:] == ["compared ledger, topics and no shards: 3 differences"]
