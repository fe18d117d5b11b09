"""The HTTP API on real parts: a database of the test's own, the real engine, shards, a registered replica."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import cv2
import httpx
import numpy as np
from fastapi import FastAPI

from facepass.embedding import FaceEngine
from facepass.schemas.errors import TransientError
from facepass.schemas.events import EventPublisher, PhotoIndexed, SessionUpdated
from facepass.schemas.faces import PhotoFaces
from facepass.schemas.ids import PhotoId, SessionId
from facepass.schemas.ledger import Origin, PhotoState
from facepass.schemas.photo_events import PhotoEvent, PhotoOutcome
from facepass.schemas.settings import (
    AccessSettings,
    DatabaseSettings,
    IndexingSettings,
    LeaseSettings,
    PageSettings,
    PhotoStoreSettings,
    SearchSettings,
    ShardSettings,
)
from facepass.search_api import Resources, create_app
from facepass.search_api.access.session_tokens import make_token
from facepass.storage.callers.token_secrets import read_secret
from facepass.storage.database import open_database
from facepass.storage.generations import open_store
from facepass.storage.photos import UploadStore, open_photo_store
from facepass.storage.shards.replica import Replica
from facepass.storage.shards.shards import Shards
from facepass.storage.writes import register_photos, save_photos, update_session
from facepass.streams.kafka.reconnecting_publisher import ReconnectingPublisher
from facepass.use_cases import PhotoResults

NO_PHOTOS = PhotoStoreSettings(photos="/nonexistent/photos")

ORIGIN = Origin(topic="photo-indexed", partition=0, offset=0)


def beside(*pictures: tuple[bytes, float]) -> bytes:
    """One PNG of pictures side by side, each scaled by its factor."""
    pixels = [cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) for data, _ in pictures]
    scaled = [cv2.resize(p, None, fx=f, fy=f) for p, (_, f) in zip(pixels, pictures, strict=True)]
    height = max(p.shape[0] for p in scaled)
    padded = [cv2.copyMakeBorder(p, 0, height - p.shape[0], 0, 0, cv2.BORDER_CONSTANT) for p in scaled]
    return bytes(cv2.imencode(".png", np.hstack(padded))[1])


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchStack:
    """The application, a client that calls it in the same event loop, and the parts behind it."""

    parts: Resources
    app: FastAPI
    client: httpx.AsyncClient

    async def index(self, session_id: str, photos: dict[str, bytes]) -> None:
        """Store photos as ingest would."""
        engine = self.parts.engine
        outcomes = []
        for photo_id, data in photos.items():
            found = engine.analyse_photo(data)
            outcomes.append(outcome(session_id, photo_id, found))
        await save_photos(self.parts.store, outcomes, retry_hours=24)

    async def register(self, session_id: str, *photo_ids: str) -> None:
        """Make photos pending, as intake would."""
        events = [event(session_id, photo_id) for photo_id in photo_ids]
        await register_photos(self.parts.store, events)

    async def announce(self, session_id: str, **fields: object) -> None:
        """What intake does with a `session-updated` event."""
        announced = SessionUpdated(session_id=session_id, occurred_at=datetime.now(UTC).isoformat(), **fields)
        await update_session(self.parts.store.database, announced)

    async def token(self, session_id: str) -> dict[str, str]:
        """The header of a guest who has the session's link."""
        secret = await read_secret(self.parts.store.database)
        return {"Authorization": f"Bearer {make_token(secret, SessionId(session_id), timedelta(days=1))}"}

    async def search(self, session_id: str, selfie: bytes, **fields: object) -> httpx.Response:
        form = {"session_id": session_id} | fields
        return await self.client.post("/api/v1/search", files={"file": selfie}, data=form)

    async def catch_up(self) -> None:
        """What the follower's tasks do: poll, and bring the shards forward."""
        await self.parts.replica.poll()
        await self.parts.shards.catch_up()


def event(session_id: str, photo_id: str) -> PhotoEvent:
    indexed = PhotoIndexed(
        session_id=SessionId(session_id),
        photo_id=PhotoId(photo_id),
        s3_key=f"photos/{photo_id}.jpg",
        occurred_at=datetime.now(UTC),
    )
    return PhotoEvent(event=indexed, origin=ORIGIN)


def outcome(session_id: str, photo_id: str, found: PhotoFaces) -> PhotoOutcome:
    state = PhotoState.INDEXED if found.faces else PhotoState.FILTERED if found.left_out else PhotoState.NO_FACE
    return PhotoOutcome(photo=event(session_id, photo_id), state=state, found=found)


@asynccontextmanager
async def open_search_stack(
    database: DatabaseSettings,
    engine: FaceEngine,
    *,
    search: SearchSettings | None = None,
    access: AccessSettings | None = None,
    indexing: IndexingSettings | None = None,
    page: PageSettings | None = None,
    lease: LeaseSettings | None = None,
    events: EventPublisher | None = None,
    photos: PhotoStoreSettings = NO_PHOTOS,
    broker_healthy: bool = True,
) -> AsyncIterator[SearchStack]:
    async with AsyncExitStack() as stack:
        db = await stack.enter_async_context(open_database(database))
        store = await open_store(db, engine.spec)
        shards = Shards(store, ShardSettings())
        stack.push_async_callback(shards.close)
        replica = Replica(store, shards, lease or LeaseSettings())
        await replica.register()
        stack.push_async_callback(_close, replica)
        await replica.poll()
        parts = Resources(
            store=store,
            engine=engine,
            shards=shards,
            replica=replica,
            search=search or SearchSettings(),
            access=access or AccessSettings(),
            indexing=indexing or IndexingSettings(),
            page=page or PageSettings(),
            lease=lease or LeaseSettings(),
            results=PhotoResults(store),
            uploads=UploadStore(db, await stack.enter_async_context(open_photo_store(photos))),
            events=events or ReconnectingPublisher(),  # without Kafka, unless the test has one
            broker_healthy=lambda: broker_healthy,
        )
        app = create_app(parts)
        await stack.enter_async_context(app.router.lifespan_context(app))
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        client = httpx.AsyncClient(transport=transport, base_url="http://facepass.test")
        yield SearchStack(parts=parts, app=app, client=await stack.enter_async_context(client))


async def _close(replica: Replica) -> None:
    with suppress(TransientError):  # a test may have taken the database away
        await replica.close()
