"""Sessions full of made-up faces, written through the write door as ingest would, to search in."""

from collections.abc import Iterator
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from facepass.schemas.events import PhotoIndexed
from facepass.schemas.faces import Box, Embedding, Face, PhotoFaces, Quality
from facepass.schemas.ids import PhotoId, SessionId
from facepass.schemas.ledger import Origin, PhotoState
from facepass.schemas.photo_events import PhotoEvent, PhotoOutcome
from facepass.storage import Store
from facepass.storage.writes import save_photos

FACES_EACH = 4
"""Faces of one photo, about what photos of an event have."""

APPEARANCES = 40
"""Photos that show the person searched for: fewer than the 100 neighbours that bare asks FAISS for."""

_BATCH_PHOTOS = 500
_QUALITY = Quality(size=120.0, sharpness=400.0, yaw=0.0, pitch=0.0, roll=0.0)
_LANDMARKS = np.array([[20, 30], [60, 30], [40, 50], [25, 70], [55, 70]], np.float32)


def random_faces(count: int, person: Embedding, *, seed: int) -> NDArray[np.float32]:
    """Unit vectors, shape (count, floats): strangers, and `APPEARANCES` times somebody like `person`."""
    generator = np.random.default_rng(seed)
    vectors = generator.standard_normal((count, person.size), np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    every = max(FACES_EACH, count // APPEARANCES // FACES_EACH * FACES_EACH)
    cosines = generator.uniform(0.6, 0.9, len(vectors[::every])).astype(np.float32)[:, None]
    vectors[::every] = cosines * person + np.sqrt(1 - cosines**2) * vectors[::every]
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)  # type: ignore[no-any-return]


async def fill_session(store: Store, session_id: SessionId, vectors: NDArray[np.float32]) -> None:
    """Store `vectors`, shape (faces, floats), as photos of `FACES_EACH` faces."""
    photos = [vectors[first : first + FACES_EACH] for first in range(0, len(vectors), FACES_EACH)]
    for first in range(0, len(photos), _BATCH_PHOTOS):
        batch = photos[first : first + _BATCH_PHOTOS]
        outcomes = list(_outcomes(session_id, batch, first))
        await save_photos(store, outcomes, retry_hours=24.0)


def _outcomes(session_id: SessionId, photos: list[NDArray[np.float32]], first: int) -> Iterator[PhotoOutcome]:
    for number, vectors in enumerate(photos, first):
        event = PhotoIndexed(
            session_id=session_id,
            photo_id=PhotoId(f"photo-{number:08d}"),
            s3_key=f"{session_id}/{number:08d}.jpg",
            occurred_at=datetime.now(UTC),
        )
        photo = PhotoEvent(event=event, origin=Origin(topic=PhotoIndexed.topic, partition=0, offset=number))
        faces = tuple(_face(place, vector) for place, vector in enumerate(vectors))
        found = PhotoFaces(width=6000, height=4000, faces=faces, left_out=())
        yield PhotoOutcome(photo=photo, state=PhotoState.INDEXED, found=found)


def _face(place: int, vector: Embedding) -> Face:
    box = Box(x=100.0 * place, y=50.0, width=80.0, height=100.0)
    landmarks = _LANDMARKS + np.float32(100 * place)
    return Face(box=box, landmarks=landmarks, confidence=0.9, quality=_QUALITY, embedding=vector)
