"""The command `facepass dev`: everything in the foreground until a signal or until one of the parts ends."""

import asyncio
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

from facepass.local.kafka_kinds import KafkaKind
from facepass.local.stack import Stack, StackOptions, local_stack
from facepass.schemas.callers import Scope
from facepass.schemas.settings import AccessSettings, read_settings
from facepass.storage import open_database
from facepass.storage.callers import create_first_key

_LOOK_SECONDS = 0.2


class Stopped(BaseException):
    """The end that a signal asked for. No error: like KeyboardInterrupt, it only unwinds."""


@contextmanager
def stop_on_signals() -> Iterator[None]:
    """Run the block; at SIGTERM or SIGINT unwind it, once, undisturbed by further signals."""

    def stop(_number: int, _frame: FrameType | None) -> NoReturn:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)
        raise Stopped

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    except Stopped:
        pass
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def run_dev(options: StackOptions) -> None:
    """Start everything, say where it is, print `ready`, watch it, stop everything.

    Raises:
        FacePassError: as `local_stack`; and when a process ended by itself, with the end of its log.
    """
    with (
        stop_on_signals(),
        local_stack(options, report=lambda line: print(line, flush=True)) as stack,
    ):
        for line in _addresses(stack, options.kind):
            print(line)
        if (key := asyncio.run(_first_key(stack))) is not None:
            print(f"api key {key}")
        print(f"ready {stack.http}", flush=True)
        watch(stack)


async def _first_key(stack: Stack) -> str | None:
    """A key with every scope, made at the first start; only its hash is kept. None later, and where the settings
    have keys, which serve takes."""
    if read_settings(AccessSettings).api_keys.get_secret_value().strip(" ,"):
        return None
    async with open_database(stack.database) as db:
        made = await create_first_key(db, "facepass dev", [Scope.ADMIN])
    return None if made is None else made.key


def watch(stack: Stack) -> NoReturn:
    """Wait until a process of the stack ends by itself, and raise what `check` says of it."""
    while True:
        stack.check()
        time.sleep(_LOOK_SECONDS)


_KAFKA_NOTES = {
    KafkaKind.EMBEDDED: (
        "embedded, in memory only; it refuses idempotent producers: set enable.idempotence=false"
    ),
    KafkaKind.APACHE: "Apache Kafka; its topics are kept in the data directory",
}


def _addresses(stack: Stack, kind: KafkaKind) -> list[str]:
    return [
        f"Kafka       {stack.kafka.kafka} ({_KAFKA_NOTES[kind]})",
        f"PostgreSQL  {stack.database.database.get_secret_value()}",
        f"API         {stack.http}/docs",
        f"selfie page {stack.http}/api/v1/sessions/SESSION/interface",
        f"control     {stack.control} (for facepass verify --replica)",
        f"logs        {stack.logs}",
    ]
