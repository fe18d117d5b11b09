"""The demo's producer: publishes its photos' events and waits until each one is settled."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime

from facepass.embedding import read_spec
from facepass.local.demo.samples import Sample
from facepass.local.stack import Stack
from facepass.schemas.errors import ErrorCode, TransientError
from facepass.schemas.events import PhotoIndexed
from facepass.schemas.ids import PhotoId, SessionId
from facepass.schemas.ledger import PhotoState
from facepass.schemas.settings import ModelSettings, read_settings
from facepass.storage import Store, open_database, open_store
from facepass.storage.reads import PhotoRow, read_photos
from facepass.streams.kafka import open_publisher

SESSION_ID = SessionId("demo")

_LOOK_SECONDS = 0.2
_PATIENCE_SECONDS = 120.0
"""Without a single photo settled for so long, something is wrong that no log line of a worker ended."""


async def publish(stack: Stack, samples: Sequence[Sample]) -> list[PhotoIndexed]:
    """Publish `photo-indexed` for each sample, and return what was published."""
    occurred_at = datetime.now(UTC)
    events = [
        PhotoIndexed(
            session_id=SESSION_ID,
            photo_id=PhotoId(sample.photo_id),
            s3_key=sample.s3_key,
            occurred_at=occurred_at,
        )
        for sample in samples
    ]
    async with open_publisher(stack.kafka) as publisher:
        await publisher.publish_all(events)
    return events


async def wait_until_settled(
    stack: Stack, events: Sequence[PhotoIndexed], *, progress: Callable[[int], None]
) -> Mapping[str, PhotoRow]:
    """Wait until no photo is pending.

    Args:
        progress: told the number of settled photos.

    Returns:
        By photo id what the ledger says of it.

    Raises:
        FacePassError: a process ended, or nothing moved for two minutes.
    """
    settled: dict[str, PhotoRow] = {}
    loop = asyncio.get_running_loop()
    async with open_database(stack.database) as database:
        store = await open_store(database, read_spec(read_settings(ModelSettings)))
        moved = loop.time()
        while waiting := [event for event in events if event.photo_id not in settled]:
            stack.check()
            found = await _settled_photos(store, waiting)
            if found:
                settled.update(found)
                moved = loop.time()
                progress(len(settled))
            elif loop.time() > moved + _PATIENCE_SECONDS:
                raise TransientError(
                    ErrorCode.INTERNAL, f"{len(waiting)} photos are still not indexed; logs: {stack.logs}"
                )
            await asyncio.sleep(_LOOK_SECONDS)
    return settled


async def _settled_photos(store: Store, events: Sequence[PhotoIndexed]) -> dict[str, PhotoRow]:
    rows = await read_photos(store, SESSION_ID, [event.photo_id for event in events])
    return {photo_id: row for photo_id, row in rows.items() if row.state not in (None, PhotoState.PENDING)}
