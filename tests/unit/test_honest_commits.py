"""What Faust believes is committed."""

from typing import Any

import pytest
from faust.transport.drivers import aiokafka as driver
from faust.types import TP

from facepass.schemas.settings import KafkaSettings
from facepass.streams.faust_app import new_app

PARTITION = TP("photo-deleted", 0)


@pytest.mark.parametrize("prompt", [False, True])
@pytest.mark.parametrize(("made", "known"), [(True, 2), (False, None)])
async def test_a_refused_commit_is_not_taken_for_one_that_was_made(
    monkeypatch: pytest.MonkeyPatch, prompt: bool, made: bool, known: int | None
) -> None:
    settings = KafkaSettings(kafka="127.0.0.1:1", kafka_idempotence=not prompt)
    app = new_app(settings, app_id="facepass-test", buffered=1, prompt=prompt)
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
