"""Sample photos that installed packages carry, read without importing those packages."""

from functools import cache
from importlib.util import find_spec
from pathlib import Path

import cv2


def _file_of(package: str, *parts: str) -> Path:
    spec = find_spec(package)
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent.joinpath(*parts)


@cache
def astronaut_jpeg() -> bytes:
    """One face, 512 × 512 pixels (scikit-image's sample, public domain, from NASA)."""
    pixels = cv2.imread(str(_file_of("skimage", "data", "astronaut.png")))
    assert pixels is not None
    ok, encoded = cv2.imencode(".jpg", pixels)
    assert ok
    return encoded.tobytes()


@cache
def group_jpeg() -> bytes:
    """Six faces (insightface's sample `t1.jpg`)."""
    return _file_of("insightface", "data", "images", "t1.jpg").read_bytes()
