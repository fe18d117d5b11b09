"""The means of indexing, and the photos it is handed. Its work is in `preparation`, its effects in `settling`."""

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from time import monotonic
from typing import Protocol

from facepass.schemas.faces import PhotoFaces
from facepass.schemas.photo_events import PhotoEvent
from facepass.schemas.settings import IngestSettings
from facepass.storage import Store
from facepass.storage.photos import PhotoStore
from facepass.streams.dead_letters import DeadLetterLimits, Outlet
from facepass.streams.kafka import Record


class Analyser(Protocol):
    """The part of the face engine that the pipeline uses."""

    @property
    def threads(self) -> int:
        """The number of analyses that make sense at once."""

    def analyse_photo(self, data: bytes) -> PhotoFaces:
        """Find the faces of one photo; PermanentError when the bytes are no photo that can be read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pipeline:
    """The means that `index_photos` works with. Make one with `open_pipeline`.

    Attributes:
        places: as many photos of batches as may be in memory at once.
        slow_places: as many swept photos as may be fetched slowly at once.
        threads: where photos are analysed.
        limits: on the photos that are given up for good.
    """

    store: Store
    photo_store: PhotoStore
    engine: Analyser
    outlet: Outlet
    settings: IngestSettings
    places: asyncio.Semaphore
    slow_places: asyncio.Semaphore
    threads: ThreadPoolExecutor
    limits: DeadLetterLimits


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One photo to index.

    Attributes:
        record: what it came in. None: the sweep took it up, from its row, and sees to it that not too many are in
            memory.
        taken_at: monotonic seconds.
    """

    photo: PhotoEvent
    record: Record | None = None
    taken_at: float = field(default_factory=monotonic)


@asynccontextmanager
async def open_pipeline(
    *,
    store: Store,
    photo_store: PhotoStore,
    engine: Analyser,
    outlet: Outlet,
    settings: IngestSettings,
    limits: DeadLetterLimits | None = None,
) -> AsyncIterator[Pipeline]:
    """A pipeline with its threads, for the life of the block. Without `limits` it may give up every photo."""
    threads = ThreadPoolExecutor(max_workers=engine.threads, thread_name_prefix="analyse")
    try:
        yield Pipeline(
            store=store,
            photo_store=photo_store,
            engine=engine,
            outlet=outlet,
            settings=settings,
            places=asyncio.Semaphore(max(settings.fetch_concurrency, engine.threads)),
            slow_places=asyncio.Semaphore(sweep_places(settings) // 2),
            threads=threads,
            limits=limits or DeadLetterLimits(),
        )
    finally:
        threads.shutdown(wait=False, cancel_futures=True)


def sweep_places(settings: IngestSettings) -> int:
    """The number of photos swept at once. Half of them may be slow: the others never wait for those."""
    return max(settings.fetch_concurrency // 2, 2)
