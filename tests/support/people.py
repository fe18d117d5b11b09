"""The labelled photos of `../shared/photos`: who is on which, and altered copies of them."""

import csv
from collections.abc import Callable, Mapping
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]


def read_labels(photos: Path) -> dict[str, frozenset[str]]:
    """File name to the people on it."""
    with (photos / "labels.csv").open(newline="") as file:
        return {row["file"]: frozenset(row["people"].split(";")) for row in csv.DictReader(file)}


def single_person(labels: Mapping[str, frozenset[str]]) -> dict[str, str]:
    """File name to person, for photos that show one labelled person."""
    return {name: next(iter(people)) for name, people in labels.items() if len(people) == 1}


def mirrored(pixels: Pixels) -> Pixels:
    return np.ascontiguousarray(pixels[:, ::-1])


def darkened(pixels: Pixels) -> Pixels:
    """Half the light."""
    return (pixels.astype(np.uint16) // 2).astype(np.uint8)


def half_size(pixels: Pixels) -> Pixels:
    return cv2.resize(pixels, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA).astype(np.uint8)


def rotated_15(pixels: Pixels) -> Pixels:
    """Turned by 15 degrees, the canvas enlarged so that nothing is cut off."""
    height, width = pixels.shape[:2]
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), 15, 1.0)
    cos, sin = abs(turn[0, 0]), abs(turn[0, 1])
    new_width, new_height = int(height * sin + width * cos), int(height * cos + width * sin)
    turn[:, 2] += ((new_width - width) / 2, (new_height - height) / 2)
    return cv2.warpAffine(pixels, turn, (new_width, new_height), borderValue=(127, 127, 127)).astype(np.uint8)


ALTERATIONS: dict[str, Callable[[Pixels], Pixels]] = {
    "mirrored": mirrored,
    "darkened": darkened,
    "half size": half_size,
    "rotated by 15 degrees": rotated_15,
}


def altered_jpeg(photo: Path, alter: Callable[[Pixels], Pixels]) -> bytes:
    """The photo, altered, as JPEG of quality 95."""
    pixels = cv2.imdecode(np.frombuffer(photo.read_bytes(), np.uint8), cv2.IMREAD_COLOR)
    assert pixels is not None
    ok, encoded = cv2.imencode(".jpg", alter(pixels.astype(np.uint8)), [cv2.IMWRITE_JPEG_QUALITY, 95])
    assert ok
    return encoded.tobytes()
