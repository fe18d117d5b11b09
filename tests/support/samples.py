"""Sample pictures as bytes, for tests that need a face or none."""

from functools import cache

import cv2

from facepass.local.sample_files import group_file, scikit_image_file


@cache
def astronaut_png() -> bytes:
    """One face, 512 x 512, PNG, 0.8 MB."""
    return scikit_image_file().read_bytes()


@cache
def astronaut_jpeg() -> bytes:
    """One face, 512 x 512, JPEG."""
    pixels = cv2.imread(str(scikit_image_file()))
    assert pixels is not None
    ok, encoded = cv2.imencode(".jpg", pixels)
    assert ok
    return encoded.tobytes()


@cache
def group_jpeg() -> bytes:
    """Six faces, 1280 x 886, JPEG."""
    return group_file().read_bytes()


@cache
def coffee_png() -> bytes:
    """A cup of coffee and no face, PNG."""
    return scikit_image_file("coffee.png").read_bytes()
