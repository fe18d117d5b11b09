"""`facepass intake` as a process that ends by itself: its exit status, its words, and what it leaves."""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest
from aiokafka import AIOKafkaProducer
from support.streams_support import SESSION_SECONDS, committed, read_topic, with_topics

from facepass.local.broker import embedded_broker
from facepass.local.ports import free_port
from facepass.schemas.errors import PermanentError
from facepass.schemas.events import DEAD_LETTERS_TOPIC, Event
from facepass.schemas.faces import GenerationSpec
from facepass.schemas.ledger import Origin
from facepass.schemas.settings import DatabaseSettings
from facepass.storage.database import open_database
from facepass.storage.generations import open_store
from facepass.streams.dead_letters.give_up_limits import DeadLetterLimits
from facepass.streams.intake.applying import Intake, register
from facepass.streams.intake.intake_process import INTAKE_GROUP
from facepass.streams.kafka.records import DeadLetter, Record

GOOD = b'{"session_id": "s", "photo_id": "%d", "s3_key": "a.jpg"}'


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[str]:
    with embedded_broker("127.0.0.1", free_port(), log=tmp_path / "broker.log") as address:
        asyncio.run(with_topics(address))
        yield address


Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def intake(broker: str, database_settings: DatabaseSettings) -> Iterator[Start]:
    """Starts the process with further settings; none outlives the test."""
    with ExitStack() as processes:

        def start(**settings: str) -> "subprocess.Popen[str]":
            environment = os.environ | {
                "FACEPASS_KAFKA": broker,
                "FACEPASS_KAFKA_IDEMPOTENCE": "false",
                "FACEPASS_SESSION_TIMEOUT_SECONDS": str(SESSION_SECONDS),
                "FACEPASS_DATABASE": database_settings.database.get_secret_value(),
                "FACEPASS_LOG_FORMAT": "json",
                **settings,
            }
            command = [sys.executable, "-m", "facepass", "intake"]
            process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
            processes.enter_context(process)
            processes.callback(process.kill)
            return process

        yield start


def publish(broker: str, *values: bytes) -> None:
    async def send() -> None:
        producer = AIOKafkaProducer(bootstrap_servers=broker)
        await producer.start()
        try:
            for value in values:
                await producer.send_and_wait("photo-indexed", value)
        finally:
            await producer.stop()

    asyncio.run(send())


def letters(broker: str) -> int:
    return len(asyncio.run(read_topic(broker, DEAD_LETTERS_TOPIC)))


def rows(database: DatabaseSettings) -> int:
    with psycopg.connect(database.database.get_secret_value()) as connection:
        return len(connection.execute("SELECT photo_id FROM photos").fetchall())


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.2)


def test_too_many_dead_letters_end_intake_with_status_3_and_come_again(
    broker: str, database_settings: DatabaseSettings, intake: Start
) -> None:
    process = intake(FACEPASS_DEAD_LETTERS_IN_A_ROW="3")
    publish(broker, GOOD % 0, b"bad", b"bad", GOOD % 1)
    wait_for(lambda: (rows(database_settings), letters(broker)) == (2, 2))
    wait_for(lambda: asyncio.run(committed(broker, INTAKE_GROUP, "photo-indexed")) == [4])
    process.terminate()
    process.communicate(timeout=30)
    assert process.returncode == 0

    publish(broker, GOOD % 2, b"bad", b"bad", b"bad", b"bad")
    process = intake(FACEPASS_DEAD_LETTERS_IN_A_ROW="3")
    _, said = process.communicate(timeout=60)
    assert process.returncode == 3
    assert "4 of them for invalid_event" in said.splitlines()[-1]
    assert "FACEPASS_DEAD_LETTERS_IN_A_ROW" in said.splitlines()[-1]
    assert letters(broker) < 6
    (offset,) = asyncio.run(committed(broker, INTAKE_GROUP, "photo-indexed"))
    assert offset is not None
    assert offset < 9

    process = intake(FACEPASS_DEAD_LETTERS_IN_A_ROW="0")
    wait_for(lambda: (rows(database_settings), letters(broker)) == (3, 6))
    process.terminate()
    process.communicate(timeout=30)
    assert process.returncode == 0


async def test_of_a_batch_that_passes_the_limit_nothing_is_written_or_buried(
    database_settings: DatabaseSettings,
) -> None:
    class Buried:
        letters = 0

        async def publish_all(self, events: Sequence[Event]) -> None:
            del events

        async def publish_dead_letter(self, letter: DeadLetter) -> None:
            del letter
            self.letters += 1

    def record(offset: int, value: bytes) -> Record:
        origin = Origin(topic="photo-indexed", partition=0, offset=offset)
        return Record(origin=origin, value=value, key=None, headers=(), recorded_at=datetime.now(UTC))

    spec = GenerationSpec(pack="p", vector_size=4, operating_point=0.4, fingerprint={"f": "1"})
    outlet = Buried()
    async with open_database(database_settings) as database:
        store = await open_store(database, spec)
        parts = Intake(store=store, outlet=outlet, limits=DeadLetterLimits(per_minute=1))
        with pytest.raises(PermanentError, match="too_many_dead_letters"):
            await register(parts, [record(0, GOOD % 0), record(1, b"bad"), record(2, GOOD % 1), record(3, b"bad")])
        assert (rows(database_settings), outlet.letters) == (0, 0)
        await register(parts, [record(0, GOOD % 0), record(1, b"bad")])
        assert (rows(database_settings), outlet.letters) == (1, 1)


def test_a_consumer_that_stands_still_ends_the_process_with_status_4_even_if_it_will_not_stop(
    broker: str, database_settings: DatabaseSettings, intake: Start, tmp_path: Path
) -> None:
    """A row that another transaction holds for ever stands for any await that never returns."""
    publish(broker, GOOD % 0)
    with psycopg.connect(database_settings.database.get_secret_value()) as blocker:
        blocker.execute("LOCK TABLE sessions IN ACCESS EXCLUSIVE MODE")
        # statement_timeout would end the wait, and PostgreSQL is not what is tested here; the thread is one of
        # those for which Python waits at its end.
        (tmp_path / "sitecustomize.py").write_text(
            "import threading, time, facepass.storage.database as d\n"
            "d._STATEMENT_SECONDS = 3600\n"
            "threading.Thread(target=time.sleep, args=(3600,)).start()\n"
        )
        process = intake(FACEPASS_WATCHDOG_SECONDS="1", PYTHONPATH=str(tmp_path))
        _, said = process.communicate(timeout=60)
    assert process.returncode == 4, said
    assert "no event of topic photo-indexed was finished" in said
