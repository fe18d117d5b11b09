"""Pictures composed from the labelled photos, in memory only: faces of a known person, place and width."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from facepass.schemas.faces import Box, Face, SelfieFace

Pixels = NDArray[np.uint8]


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """One face to be set into scenes: `pixels` of its photo, RGB, and the face found there at full size."""

    name: str
    pixels: Pixels
    face: Face


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """A face in a scene: centre and width of its box, pixels."""

    person: Person
    x: float
    y: float
    width: float


def background(width: int, height: int, seed: int) -> Pixels:
    """Soft patches of colour with a little noise, in which there is no face."""
    random = np.random.default_rng(seed)
    patches = random.integers(30, 220, (9, 16, 3), dtype=np.uint8)
    smooth = cv2.resize(patches, (width, height), interpolation=cv2.INTER_CUBIC)
    noise = random.integers(-4, 5, (height // 2, width // 2, 1), dtype=np.int8).astype(np.float32)
    spread = cv2.resize(noise, (width, height), interpolation=cv2.INTER_NEAREST)[..., None]
    return np.clip(smooth + spread, 0, 255).astype(np.uint8)


def scaled(person: Person, width: float) -> tuple[Pixels, float]:
    """The person's photo, shrunk so that the face is `width` pixels wide, and the factor."""
    factor = width / person.face.box.width
    kind = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
    return cv2.resize(person.pixels, None, fx=factor, fy=factor, interpolation=kind).astype(np.uint8), factor


def set_into(scene: Pixels, person: Person, width: float, *, seed: int) -> Placed:
    """Put the whole shrunk photo somewhere into the scene (cut below and right where it is too large)."""
    photo, factor = scaled(person, width)
    height, across = min(photo.shape[0], scene.shape[0]), min(photo.shape[1], scene.shape[1])
    random = np.random.default_rng(seed)
    top = int(random.integers(0, scene.shape[0] - height + 1))
    left = int(random.integers(0, scene.shape[1] - across + 1))
    scene[top : top + height, left : left + across] = photo[:height, :across]
    x, y = _centre(person.face.box)
    return Placed(person=person, x=left + x * factor, y=top + y * factor, width=width)


def group_scene(
    people: Sequence[Person], width: float, *, size: tuple[int, int], seed: int
) -> tuple[Pixels, list[Placed]]:
    """A large photo with every person's head at a place of its own."""
    scene = background(*size, seed)
    cell = int(width * 2.4)
    columns, rows = size[0] // cell, size[1] // cell
    spots = np.random.default_rng(seed).permutation(columns * rows)
    placed = []
    for person, spot in zip(people, spots, strict=False):
        photo, factor = scaled(person, width)
        x, y = _centre(person.face.box)
        left, top = int(spot % columns) * cell, int(spot // columns) * cell
        shift = np.array([[1, 0, cell / 2 - x * factor], [0, 1, cell / 2 - y * factor]])
        scene[top : top + cell, left : left + cell] = cv2.warpAffine(
            photo, shift, (cell, cell), borderMode=cv2.BORDER_REPLICATE
        )
        placed.append(Placed(person=person, x=left + cell / 2, y=top + cell / 2, width=width))
    return scene, placed


def close_up(person: Person, share: float) -> Pixels:
    """A portrait of 1200 x 1600 pixels whose width the face fills to `share`."""
    factor = share * 1200 / person.face.box.width
    x, y = _centre(person.face.box)
    move = np.array([[factor, 0, 600 - x * factor], [0, factor, 800 - y * factor]])
    return cv2.warpAffine(
        person.pixels, move, (1200, 1600), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
    ).astype(np.uint8)


def jpeg(pixels: Pixels, quality: int = 92) -> bytes:
    ok, encoded = cv2.imencode(".jpg", pixels[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    assert ok
    return encoded.tobytes()


_Found = TypeVar("_Found", Face, SelfieFace)


def face_at(place: Placed, faces: Sequence[_Found]) -> _Found | None:
    """The face whose centre lies within half the width of that place."""
    for face in faces:
        x, y = _centre(face.box)
        if max(abs(x - place.x), abs(y - place.y)) < place.width / 2:
            return face
    return None


def cosines(face: Face, people: Mapping[str, Person]) -> dict[str, float]:
    """Cosine of a face to every person's own, by the people's keys."""
    return {key: float(face.embedding @ person.face.embedding) for key, person in people.items()}


def _centre(box: Box) -> tuple[float, float]:
    return box.x + box.width / 2, box.y + box.height / 2
