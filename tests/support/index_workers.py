"""In place of Kafka and its workers: takes the events that calls publish, and settles them when a test says so.

What is settled goes through the real doors, so that ledger and updates are those of intake and ingest.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
from support.search_stack import NO_PHOTOS, ORIGIN, SearchStack, open_search_stack

from facepass.embedding import FaceEngine
from facepass.schemas.errors import ErrorCode, TransientError
from facepass.schemas.events import Event, IndexUpdate, PhotoDeleted, PhotoIndexed, SessionDeleted
from facepass.schemas.faces import PhotoFaces
from facepass.schemas.ledger import Origin, PhotoState
from facepass.schemas.photo_events import PhotoEvent, PhotoOutcome
from facepass.schemas.settings import AccessSettings, DatabaseSettings, IndexingSettings, PhotoStoreSettings
from facepass.search_api import Resources
from facepass.storage.writes import delete_photo, delete_session, register_photos, save_photos


@dataclass
class Workers:
    """`published`: all events so far; `next` waits for another one."""

    published: list[Event] = field(default_factory=list)
    broker_there: bool = True
    _queue: "asyncio.Queue[Event]" = field(default_factory=asyncio.Queue)

    async def publish(self, event: Event, *, origin_api: bool = False) -> Origin:
        assert origin_api == isinstance(event, PhotoDeleted | SessionDeleted)
        self._take(event)
        return ORIGIN

    async def publish_all(self, events: Sequence[Event]) -> list[Origin]:
        for event in events:
            self._take(event)
        return [ORIGIN for _ in events]

    def _take(self, event: Event) -> None:
        if not self.broker_there:
            raise TransientError(ErrorCode.BROKER_UNAVAILABLE, "Kafka does not answer")
        self.published.append(event)
        self._queue.put_nowait(event)

    async def next(self) -> Event:
        async with asyncio.timeout(60):
            return await self._queue.get()

    async def next_photo(self) -> PhotoIndexed:
        event = await self.next()
        assert isinstance(event, PhotoIndexed)
        return event


async def register(parts: Resources, event: PhotoIndexed) -> None:
    """What intake does with a photo."""
    await register_photos(parts.store, [PhotoEvent(event=event, origin=ORIGIN)])


async def settle(
    parts: Resources, event: PhotoIndexed, *, found: PhotoFaces | None = None, error: ErrorCode | None = None
) -> IndexUpdate:
    """What ingest does with a photo: its outcome, and the update that it publishes."""
    state = PhotoState.FAILED
    if found is not None:
        state = (
            PhotoState.INDEXED if found.faces else PhotoState.FILTERED if found.left_out else PhotoState.NO_FACE
        )
    photo = PhotoEvent(event=event, origin=ORIGIN)
    outcome = PhotoOutcome(photo=photo, state=state, found=found, error=error)
    (written,) = await save_photos(parts.store, [outcome], retry_hours=24)
    return written.update


async def apply_deletion(parts: Resources, event: Event) -> IndexUpdate:
    """What intake does with a deletion."""
    if isinstance(event, PhotoDeleted):
        return (await delete_photo(parts.store, event.session_id, event.photo_id, event.occurred_at)).update
    assert isinstance(event, SessionDeleted)
    return (await delete_session(parts.store, event.session_id, event.occurred_at)).update


def faces_of(engine: FaceEngine, picture: bytes) -> PhotoFaces:
    return engine.analyse_photo(picture)


KEY = "a-key-of-the-tests"


@dataclass
class Calls:
    """The application with a key, and the workers behind it."""

    stack: SearchStack
    workers: Workers
    faces: PhotoFaces

    async def index(self, photo_id: str = "p", key: str = "a.jpg", **headers: str) -> httpx.Response:
        body = {"photo_id": photo_id, "session_id": "s", "s3_key": key}
        return await self.post("/index", json=body, headers=headers)

    async def batch(self, keys: dict[str, str], **headers: str) -> httpx.Response:
        photos = [{"photo_id": photo_id, "s3_key": key} for photo_id, key in keys.items()]
        return await self.post("/index/batch", json={"session_id": "s", "photos": photos}, headers=headers)

    async def post(self, path: str, **request: Any) -> httpx.Response:
        request["headers"] = {"X-API-Key": KEY, **request.get("headers", {})}
        return await self.stack.client.post(f"/api/v1{path}", **request)

    async def delete(self, path: str) -> httpx.Response:
        return await self.stack.client.delete(f"/api/v1{path}", headers={"X-API-Key": KEY})

    async def indexed(self, photo_id: str = "p", key: str = "a.jpg") -> httpx.Response:
        """Index one photo to the end."""
        call = asyncio.create_task(self.index(photo_id, key))
        await self.note(await settle(self.stack.parts, await self.workers.next_photo(), found=self.faces))
        return await call

    async def polling(self, call: "asyncio.Task[httpx.Response]") -> httpx.Response:
        """The answer of a deletion, with a replica that polls."""
        while not call.done():
            await self.stack.catch_up()
            await asyncio.wait([call], timeout=0.05)
        return call.result()

    async def note(self, update: object) -> None:
        self.stack.parts.results.note(update)


@asynccontextmanager
async def open_calls(
    database: DatabaseSettings,
    engine: FaceEngine,
    faces: PhotoFaces,
    *,
    connections: int = 8,
    photos: PhotoStoreSettings = NO_PHOTOS,
    **indexing: float,
) -> AsyncIterator[Calls]:
    """The application with a key and no limit, and workers that do what they are told."""
    workers = Workers()
    async with open_search_stack(
        database.model_copy(update={"database_pool_size": connections}),
        engine,
        access=AccessSettings(api_keys=KEY, limit_index="off"),
        indexing=IndexingSettings(**indexing),
        events=workers,
        photos=photos,
    ) as stack:
        yield Calls(stack, workers, faces)


def code(answer: httpx.Response) -> tuple[int, str]:
    """Status and code of a refusal."""
    return answer.status_code, answer.json()["code"]
