"""Intake's topics wait for nothing but their own events: what holds one up holds up no deletion."""

import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest
from aiokafka import AIOKafkaProducer
from support.streams_support import eventually, running, with_topics

from facepass.local.broker import embedded_broker
from facepass.local.ports import free_port
from facepass.schemas.events import Event
from facepass.schemas.faces import GenerationSpec
from facepass.schemas.settings import DatabaseSettings
from facepass.storage.database import open_database
from facepass.storage.generations import open_store
from facepass.streams.intake import intake_process as intake_module
from facepass.streams.intake.applying import Intake
from facepass.streams.intake.intake_process import intake_apps
from facepass.streams.kafka.records import DeadLetter
from facepass.streams.process.worker import Worker

_BATCH = 5
_MANY = 12 * _BATCH
"""More than a batch and a full buffer of two hold."""


class Nowhere:
    """An outlet to which nobody listens."""

    async def publish_all(self, events: Sequence[Event]) -> None:
        del events

    async def publish_dead_letter(self, letter: DeadLetter) -> None:
        raise AssertionError(letter)


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[str]:
    with embedded_broker("127.0.0.1", free_port(), log=tmp_path / "broker.log") as address:
        yield address


async def publish(broker: str, topic: str, events: list[dict[str, Any]]) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=broker)
    await producer.start()
    try:
        for event in events:
            await producer.send(topic, json.dumps(event).encode(), key=event["session_id"].encode())
    finally:
        await producer.stop()


@pytest.mark.parametrize("held_up", ["photo-indexed", "photo-deleted"])
async def test_a_session_is_deleted_while_another_topic_is_held_up(
    broker: str, database_settings: DatabaseSettings, monkeypatch: pytest.MonkeyPatch, held_up: str
) -> None:
    monkeypatch.setattr(intake_module, "_BATCH", _BATCH)
    kafka, worker, now = await with_topics(broker), Worker("intake"), datetime.now(UTC).isoformat()
    event = {"session_id": "locked", "s3_key": "a.jpg", "occurred_at": now}
    await publish(broker, held_up, [event | {"photo_id": str(number)} for number in range(_MANY)])
    address = database_settings.database.get_secret_value()
    spec = GenerationSpec(pack="p", vector_size=4, operating_point=0.4, fingerprint={"f": "1"})
    async with open_database(database_settings) as database:
        parts = Intake(store=await open_store(database, spec), outlet=Nowhere())
        with psycopg.connect(address, autocommit=True) as looker, psycopg.connect(address) as locker:

            def there(what: str) -> bool:
                return bool(looker.execute(f"SELECT 1 FROM {what}").fetchall())  # type: ignore[arg-type]

            # Uncommitted, the row holds up whoever comes to the same session, as a frozen process does.
            locker.execute("INSERT INTO sessions (session_id) VALUES ('locked')")
            async with running(worker, *intake_apps(kafka, parts, worker)):
                await eventually(lambda: there("pg_stat_activity WHERE wait_event_type = 'Lock'"))
                await publish(broker, "session-deleted", [{"session_id": "gone", "occurred_at": now}])
                await eventually(lambda: there("sessions WHERE deleted_at IS NOT NULL"))
                locker.rollback()
                await eventually(lambda: there(f"photos HAVING count(*) = {_MANY}"))
