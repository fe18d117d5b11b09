"""Sample photos with known people, derived from one picture of two packages each.

The group photo comes from the package insightface (six people at a table), the astronaut and the pictures without
the people searched for from scikit-image. Their files are read where they are installed; neither is imported, so
that what only their code needs is not installed.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageEnhance

from facepass.local.sample_files import group_file, scikit_image_file

ASTRONAUT = "astronaut"
_LEFT = frozenset({"first", "second", "third"})
_RIGHT = frozenset({"fourth", "fifth", "sixth"})
_GROUP = _LEFT | _RIGHT
"""The people of the group photo, from the left."""

_BETWEEN_THIRD_AND_FOURTH = 655
"""Column of the group photo (1280 x 886) that parts its halves and touches nobody's face."""

_ORIENTATION = 0x0112
_ROTATE_90 = 6
"""EXIF orientation of a phone held upright: the stored picture is to be turned clockwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One photo of the session. `people` are all whose faces are on it and searched for."""

    photo_id: str
    s3_key: str
    people: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Selfie:
    """A picture to search with. `expected` are the photos that must be found, and no others; None: unknown."""

    name: str
    path: Path
    expected: frozenset[str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """The photos and selfies that one run of the demo publishes and searches."""

    photos_dir: Path
    samples: tuple[Sample, ...]
    selfies: tuple[Selfie, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scene:
    name: str
    people: frozenset[str]
    picture: Image.Image
    suffix: str = ".jpg"
    quality: int = 90
    orientation: int = 1


def write_samples(directory: Path) -> Session:
    """Write the sample photos and the selfies below `directory`.

    Raises:
        PermanentError: `photo_not_found`, a package that carries a picture is not installed.
    """
    photos, selfies = directory / "photos", directory / "selfies"
    photos.mkdir()
    selfies.mkdir()
    samples = tuple(_write(photos, scene) for scene in _scenes())
    found = []
    for person, label, picture in _selfie_pictures():
        path = selfies / f"{person}.jpg"
        picture.save(path, quality=85)
        expected = frozenset(sample.photo_id for sample in samples if person in sample.people)
        found.append(Selfie(name=label, path=path, expected=expected))
    return Session(photos_dir=photos, samples=samples, selfies=tuple(found))


def _scenes() -> Iterator[_Scene]:
    group, astronaut = _group(), _scikit_image("astronaut.png")
    left, right = _halves(group)
    alone = frozenset({ASTRONAUT})
    yield _Scene(name="group", people=_GROUP, picture=group)
    yield _Scene(name="group-half-size", people=_GROUP, picture=group.reduce(2))
    yield _Scene(name="group-darker", people=_GROUP, picture=_darker(group))
    yield _Scene(name="group-turned", people=_GROUP, picture=_turned(group, 8))
    yield _Scene(name="group-recompressed", people=_GROUP, picture=group, quality=25)
    yield _Scene(name="table-left", people=_LEFT, picture=left)
    yield _Scene(name="table-right", people=_RIGHT, picture=right, suffix=".webp")
    yield _Scene(
        name="table-left-phone",
        people=_LEFT,
        picture=left.transpose(Image.Transpose.ROTATE_90),
        orientation=_ROTATE_90,
    )
    yield _Scene(name="astronaut", people=alone, picture=astronaut, suffix=".png")
    yield _Scene(name="astronaut-darker", people=alone, picture=_darker(astronaut))
    yield _Scene(name="astronaut-turned", people=alone, picture=_turned(astronaut, -12))
    yield _Scene(name="astronaut-recompressed", people=alone, picture=astronaut.reduce(2), quality=40)
    yield _Scene(name="astronaut-with-left", people=alone | _LEFT, picture=_beside(astronaut, left))
    yield _Scene(name="astronaut-with-right", people=alone | _RIGHT, picture=_beside(right, astronaut))
    yield _Scene(name="cameraman", people=frozenset(), picture=_scikit_image("camera.png"))
    yield _Scene(name="coffee", people=frozenset(), picture=_scikit_image("coffee.png"))
    yield _Scene(name="cat", people=frozenset(), picture=_scikit_image("chelsea.png"))


def _selfie_pictures() -> Iterator[tuple[str, str, Image.Image]]:
    """Person, label, picture: parts of the originals at another scale, as none of the photos has them."""
    group = _group()
    astronaut = _scikit_image("astronaut.png").crop((90, 0, 350, 260))
    yield ASTRONAUT, "the astronaut", astronaut.resize((390, 390), Image.Resampling.BICUBIC)
    for person, label, area in (
        ("first", "first from the left", (0, 190, 255, 460)),
        ("third", "third from the left", (380, 180, 655, 480)),
    ):
        picture = group.crop(area)
        larger = (picture.width * 3 // 2, picture.height * 3 // 2)
        yield person, label, picture.resize(larger, Image.Resampling.BICUBIC)


def _write(photos: Path, scene: _Scene) -> Sample:
    key = scene.name + scene.suffix
    exif = Image.Exif()
    exif[_ORIENTATION] = scene.orientation
    scene.picture.save(photos / key, quality=scene.quality, exif=exif)
    return Sample(photo_id=scene.name, s3_key=key, people=scene.people)


def _group() -> Image.Image:
    return _opened(group_file())


def _scikit_image(name: str) -> Image.Image:
    return _opened(scikit_image_file(name))


def _opened(file: Path) -> Image.Image:
    with Image.open(file) as picture:
        return picture.convert("RGB")


def _halves(group: Image.Image) -> tuple[Image.Image, Image.Image]:
    middle = _BETWEEN_THIRD_AND_FOURTH
    return group.crop((0, 0, middle, group.height)), group.crop((middle, 0, group.width, group.height))


def _darker(picture: Image.Image) -> Image.Image:
    return ImageEnhance.Brightness(picture).enhance(0.5)


def _turned(picture: Image.Image, degrees: float) -> Image.Image:
    return picture.rotate(degrees, Image.Resampling.BICUBIC, expand=True, fillcolor=(128, 128, 128))


def _beside(left: Image.Image, right: Image.Image) -> Image.Image:
    height = max(left.height, right.height)
    both = Image.new("RGB", (left.width + right.width, height), (128, 128, 128))
    both.paste(left, (0, (height - left.height) // 2))
    both.paste(right, (left.width, (height - right.height) // 2))
    return both
