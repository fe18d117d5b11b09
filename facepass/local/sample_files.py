"""Sample pictures that installed packages carry, found without importing those packages."""

from importlib.util import find_spec
from pathlib import Path

from facepass.local.extra import TO_INSTALL
from facepass.schemas.errors import ErrorCode, PermanentError


def group_file() -> Path:
    """Six people at a table, JPEG, 1280 x 886 (the package insightface, its `t1.jpg`)."""
    return _file("insightface", "data/images/t1.jpg")


def scikit_image_file(name: str = "astronaut.png") -> Path:
    """One of scikit-image's sample pictures; the astronaut is a portrait by NASA, PNG, 512 x 512, public domain.

    Raises:
        PermanentError: `photo_not_found`: the package is not installed, or has no such picture.
    """
    return _file("skimage", f"data/{name}")


def _file(package: str, path: str) -> Path:
    spec = find_spec(package)
    file = Path(spec.origin or "").parent / path if spec else None
    if file is None or not file.exists():
        raise PermanentError(
            ErrorCode.PHOTO_NOT_FOUND,
            f"the sample picture {path} of the package {package} is missing: {TO_INSTALL}",
        )
    return file
