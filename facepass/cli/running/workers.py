"""The processes of intake and ingest: settings read, model opened, the consuming process run."""

import asyncio
import os
import sys
import threading
from collections.abc import Coroutine

from facepass.cli.exit_statuses import exit_status
from facepass.cli.running.core_dumps import forbid_core_dumps
from facepass.embedding import open_engine, read_spec
from facepass.schemas.settings import (
    DatabaseSettings,
    GuardSettings,
    IndexingSettings,
    IngestSettings,
    KafkaSettings,
    ModelSettings,
    PhotoStoreSettings,
    read_settings,
)
from facepass.streams.ingest import run_ingest
from facepass.streams.intake import run_intake

_CLOSING_SECONDS = 5.0
"""What tasks and threads that ignore their cancellation get before the process ends without them."""


def run_worker(work: Coroutine[object, object, None]) -> None:
    """Run a process that consumes, `serve` too, to its end, and end it for certain: nothing of it may hang on.

    A stalled consumer is one that may not stop when it is told, and without its broker Faust's thread was seen to
    go on for minutes. A process that its watchdog has ended, and that still lives, is never started again.

    Raises: what ended the work.
    """
    with asyncio.Runner() as runner:
        try:
            runner.run(work)
        finally:
            # In a thread of its own, which fires while the runner's closing hangs.
            last_resort = threading.Timer(_CLOSING_SECONDS, os._exit, [exit_status(sys.exception())])
            last_resort.daemon = True
            last_resort.start()


async def intake(metrics_port: int | None) -> None:
    """Run intake until a signal; raises FacePassError."""
    await run_intake(
        kafka=read_settings(KafkaSettings),
        database=read_settings(DatabaseSettings),
        photos=read_settings(PhotoStoreSettings),
        indexing=read_settings(IndexingSettings),
        spec=read_spec(read_settings(ModelSettings)),
        guards=read_settings(GuardSettings),
        metrics_port=metrics_port,
    )


async def ingest(metrics_port: int | None) -> None:
    """Run ingest until a signal; raises FacePassError."""
    forbid_core_dumps()
    kafka, database = read_settings(KafkaSettings), read_settings(DatabaseSettings)
    photos, batches = read_settings(PhotoStoreSettings), read_settings(IngestSettings)
    guards = read_settings(GuardSettings)
    engine = open_engine(read_settings(ModelSettings))
    await run_ingest(
        kafka=kafka,
        database=database,
        photos=photos,
        ingest=batches,
        engine=engine,
        guards=guards,
        metrics_port=metrics_port,
    )
