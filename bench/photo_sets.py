"""Photos to measure with, made from two sample photos at the sizes that cameras and exports for the web have."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

import cv2
import numpy as np
from numpy.typing import NDArray

from facepass.local import group_file, scikit_image_file
from facepass.schemas.errors import ErrorCode, PermanentError

Picture = NDArray[np.uint8]

LONGER_SIDES = (6000, 4000, 2048)
"""Pixels: a 24 MP camera, an older camera or a phone, an export for the web."""

_DISTINCT = 30
"""Different pictures; more would only take longer to make."""

_GRAIN = 5.0
"""Standard deviation of the added noise, levels: an enlarged sample is smoother than a sensor's picture, and its
JPEG would decode faster than a real one."""

_QUALITY = 90
"""JPEG quality, as cameras write."""

_PHONE_QUALITY = 94
"""At which 12 megapixels of these have about 4 MB."""

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp"})


@dataclass(frozen=True, slots=True, kw_only=True)
class PhotoSet:
    """Photos in a directory.

    Attributes:
        names: paths below `directory`, in an order in which a beginning of the list is a fair sample of the whole.
        note: what they are, for the rows.
    """

    directory: Path
    names: Sequence[str]
    note: str

    def contents(self) -> list[bytes]:
        """The bytes of all; a file that occurs several times is held once."""
        held: dict[int, bytes] = {}
        paths = [self.directory / name for name in self.names]
        return [held.setdefault(path.stat().st_ino, path.read_bytes()) for path in paths]


def make_photos(directory: Path, count: int) -> PhotoSet:
    """Write `count` JPEG files of mixed sizes with no face to six into a new directory; pictures repeat."""
    group, portrait = _read(group_file()), _read(scikit_image_file())
    directory.mkdir()
    names: list[str] = []
    for number, picture in enumerate(_pictures(group, portrait, min(count, _DISTINCT))):
        name = f"photo-{number:05d}.jpg"
        (directory / name).write_bytes(_jpeg(picture, seed=number))
        names.append(name)
    for number in range(len(names), count):
        name = f"photo-{number:05d}.jpg"
        os.link(directory / names[number % _DISTINCT], directory / name)
        names.append(name)
    sizes = ", ".join(str(side) for side in LONGER_SIDES)
    pictures = f"{min(count, _DISTINCT)} pictures made of two sample photos"
    note = f"{count} JPEG files of {pictures}, longer sides {sizes} px in turn"
    return PhotoSet(directory=directory, names=names, note=note)


def make_selfie() -> bytes:
    """A portrait of 1200 x 1600 pixels, as a phone's front camera takes it."""
    portrait = _read(scikit_image_file())
    return _jpeg(_fit(portrait[0:400, 70:370], 1600), seed=0)


def make_phone_photo() -> bytes:
    """A portrait of 3024 x 4032 pixels and about 4 MB, as a phone's main camera takes it."""
    portrait = _read(scikit_image_file())
    return _jpeg(_fit(portrait[0:400, 70:370], 4032), seed=0, quality=_PHONE_QUALITY)


def own_photos(directory: Path, count: int) -> PhotoSet:
    """A set of `count` photos of the user's own directory, repeated from the start when there are fewer.

    Raises:
        PermanentError: `invalid_setting`: there is none.
    """
    found = sorted(
        str(path.relative_to(directory)) for path in directory.rglob("*") if path.suffix.lower() in SUFFIXES
    )
    if not found:
        raise PermanentError(
            ErrorCode.INVALID_SETTING,
            "--photos: the directory holds no JPEG, PNG or WebP file",
            setting="--photos",
        )
    Random(0).shuffle(found)  # noqa: S311 - a fair order, no secret
    names = [found[number % len(found)] for number in range(count)]
    return PhotoSet(directory=directory, names=names, note=f"{count} photos of {len(set(names))} own files")


def _pictures(group: Picture, portrait: Picture, count: int) -> Iterator[Picture]:
    """Scenes at all sizes in turn, each later round mirrored or darker so that no two are the same bytes."""
    scenes = [
        group,
        portrait[:, 50:392],
        group[:, 0:590],
        np.hstack([_fit(portrait, 886), _fit(group[0:886, 640:1280], 886)]),
        _scenery(portrait),
    ]
    for number in range(count):
        picture = _fit(scenes[number % len(scenes)], LONGER_SIDES[number // len(scenes) % len(LONGER_SIDES)])
        yield cv2.flip(picture, 1) if number >= _DISTINCT // 2 else picture  # type: ignore[misc]


def _scenery(portrait: Picture) -> Picture:
    """A picture without a face: the part of the portrait beside the head, enlarged."""
    return _fit(portrait[0:128, 320:512], 1280)


def _fit(picture: Picture, longer_side: int) -> Picture:
    """The picture with its longer side at so many pixels."""
    scale = longer_side / max(picture.shape[:2])
    return cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_LINEAR)  # type: ignore[return-value]


def _jpeg(picture: Picture, *, seed: int, quality: int = _QUALITY) -> bytes:
    tile = np.random.default_rng(seed).normal(0.0, _GRAIN, (512, 512)).astype(np.int16)
    height, width = picture.shape[:2]
    grain = cv2.merge([np.tile(tile, (-(-height // 512), -(-width // 512)))[:height, :width]] * 3)
    noisy = cv2.add(picture, grain, dtype=cv2.CV_8U)
    done, data = cv2.imencode(".jpg", noisy, [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not done:
        raise PermanentError(ErrorCode.INTERNAL, "a sample photo could not be written as JPEG")
    return data.tobytes()


def _read(file: Path) -> Picture:
    picture = cv2.imread(str(file))
    if picture is None:
        raise PermanentError(ErrorCode.DAMAGED_IMAGE, f"the sample picture {file.name} cannot be read")
    return picture  # type: ignore[return-value]
