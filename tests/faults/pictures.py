"""Small pictures with known people in them, so that inference is cheap and every outcome known."""

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]

LONGER_SIDE = 640
"""No picture is larger, and the suite detects at this size: a photo and a selfie are then searched alike."""

FRIENDS = {  # person: left, top, width, height in the insightface package's t1.jpg (1280 x 886)
    "lisa": (368, 190, 302, 302),
    "courteney": (671, 282, 252, 253),
    "matthew": (1055, 211, 225, 250),
    "david": (812, 0, 280, 267),
    "matt": (190, 82, 259, 259),
    "jennifer": (0, 199, 244, 267),
}
ASTRONAUT = "eileen"


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """One object of the photo store and what must become of a photo of it.

    Attributes:
        people: who is in it; empty where the photo ends in another state than `indexed`.
        state: the terminal photo state.
        code: the error code of a `failed` one.
    """

    key: str
    data: bytes | None
    people: frozenset[str] = frozenset()
    state: str = "indexed"
    code: str | None = None


def make_pictures() -> dict[str, Picture]:
    """Name to picture; those with one person are named after them."""
    friends = _read("insightface", "data/images/t1.jpg")
    astronaut = _read("skimage", "data/astronaut.png")
    crops = {name: friends[y : y + h, x : x + w] for name, (x, y, w, h) in FRIENDS.items()}
    crops[ASTRONAUT] = astronaut
    pictures = {
        name: Picture(key=f"people/{name}.jpg", data=_jpeg(pixels), people=frozenset({name}))
        for name, pixels in crops.items()
    }
    half = cv2.resize(friends, (640, 443), interpolation=cv2.INTER_AREA).astype(np.uint8)
    grey = np.full((320, 480, 3), 127, np.uint8)
    return pictures | {
        "everyone": Picture(key="people/everyone.jpg", data=_jpeg(half), people=frozenset(FRIENDS)),
        "blank": Picture(key="blank.jpg", data=_jpeg(grey), state="no_face"),
        "damaged": Picture(key="damaged.jpg", data=_jpeg(astronaut)[:9000], state="failed", code="damaged_image"),
        "text": Picture(key="text.jpg", data=b"no picture at all", state="failed", code="unsupported_image"),
        "missing": Picture(key="nobody/put/it/here.jpg", data=None, state="failed", code="photo_not_found"),
    }


def put_into_directory(pictures: dict[str, Picture], directory: Path) -> None:
    for picture in pictures.values():
        if picture.data is not None:
            path = directory / picture.key
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(picture.data)


def _read(package: str, name: str) -> Pixels:
    spec = find_spec(package)
    assert spec is not None
    assert spec.origin is not None
    pixels = cv2.imread(str(Path(spec.origin).parent / name))
    assert pixels is not None
    return pixels.astype(np.uint8)


def _jpeg(pixels: Pixels) -> bytes:
    ok, encoded = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, 90])
    assert ok
    return encoded.tobytes()
