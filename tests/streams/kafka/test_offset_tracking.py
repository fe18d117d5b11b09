"""What Faust believes is committed, and what a consumer makes of a topic and a seek that go wrong."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from faust.transport.drivers import aiokafka as driver
from faust.types import TP

from facepass.cli.exit_statuses import exit_status
from facepass.schemas.errors import ErrorCode, TransientError
from facepass.schemas.settings import KafkaSettings
from facepass.streams.kafka import offset_tracking
from facepass.streams.kafka.faust_app import new_app

PARTITION = TP("photo-deleted", 0)


@pytest.mark.parametrize("fetch_often", [False, True])
@pytest.mark.parametrize(("made", "known"), [(True, 2), (False, None)])
async def test_a_refused_commit_is_not_taken_for_one_that_was_made(
    monkeypatch: pytest.MonkeyPatch, fetch_often: bool, made: bool, known: int | None
) -> None:
    settings = KafkaSettings(kafka="127.0.0.1:1", kafka_idempotence=not fetch_often)
    app = new_app(settings, app_id="facepass-test", buffered=1, fetch_often=fetch_often)
    consumer: Any = app.consumer

    async def commit(_consumer: object, _offsets: object) -> bool:
        return made

    async def nothing_to_flush() -> None:
        pass

    monkeypatch.setattr(driver.Consumer, "_commit", commit)
    monkeypatch.setattr(app.producer, "flush", nothing_to_flush)
    monkeypatch.setattr(consumer, "assignment", lambda: {PARTITION})
    try:
        assert await consumer._commit_offsets({PARTITION: 2}) is made
        assert consumer._committed_offset[PARTITION] == known
    finally:
        consumer._thread.thread_loop.close()


@pytest.fixture
def consumer() -> Iterator[Any]:
    """One that is connected to nothing."""
    app = new_app(KafkaSettings(kafka="127.0.0.1:1", kafka_idempotence=True), app_id="facepass-test", buffered=1)
    yield app.consumer
    app.consumer._thread.thread_loop.close()


async def test_a_topic_that_went_back_ends_the_worker_to_be_started_again(consumer: Any) -> None:
    consumer._next_out[PARTITION] = 5
    assert await consumer._is_next(PARTITION, 5)
    with pytest.raises(TransientError, match="partition 0, went back from offset 6 to 0") as raised:
        await consumer._is_next(PARTITION, 0)
    assert raised.value.code is ErrorCode.STALLED
    assert exit_status(raised.value) == 4


async def test_a_seek_that_does_not_end_ends_the_consumer_with_nothing_handed_out(
    monkeypatch: pytest.MonkeyPatch, consumer: Any
) -> None:
    async def hang(_consumer: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(driver.Consumer, "perform_seek", hang)
    monkeypatch.setattr(offset_tracking, "_SEEK_SHARE", 0.001)
    consumer.resume_flow()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(consumer.perform_seek(), 10)
    assert not consumer.flow_active
