"""Bytes of a photo to oriented RGB pixels."""

import math
import re
from dataclasses import dataclass

import cv2
import numpy as np
import simplejpeg
from numpy.typing import NDArray

from facepass.embedding.headers import CMYK, ImageHeader, check_png, damaged, read_header
from facepass.schemas.errors import ErrorCode, PermanentError

Pixels = NDArray[np.uint8]
"""Shape (height, width, 3), RGB."""

MOST_PIXELS_A_SIDE = 65_535
"""JPEG's own limit; PNG headers may announce more, which no camera makes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A decoded photo.

    Attributes:
        pixels: oriented, perhaps at a reduced scale.
        width, height: of the oriented photo at full size, pixels.
    """

    pixels: Pixels
    width: int
    height: int

    @property
    def scale(self) -> tuple[float, float]:
        """Pixels of the full size for one decoded pixel, (x, y), each 1 or more."""
        height, width = self.pixels.shape[:2]
        return self.width / width, self.height / height


def decode_image(
    data: bytes, *, max_pixels: int, max_bytes: int | None = None, longer_side: int | None = None
) -> Picture:
    """Decode a JPEG, PNG or WebP file, recognised by its first bytes, with its Exif orientation applied.

    Args:
        data: the file.
        max_pixels: refuse a picture whose header announces more.
        max_bytes: refuse a larger file.
        longer_side: what the decoded picture's longer side must have at least, if the photo has it; a JPEG is
            decoded at a half, a quarter or an eighth where that is enough.

    Raises:
        PermanentError: `file_too_large`, `too_many_pixels`, `unsupported_image`, `damaged_image`.
    """
    if max_bytes is not None and len(data) > max_bytes:
        raise PermanentError(
            ErrorCode.FILE_TOO_LARGE, f"the file has {len(data)} bytes, allowed are {max_bytes}", limit=max_bytes
        )
    header = read_header(data)
    _check_size(header, max_pixels)
    pixels = _decode_jpeg(data, header, longer_side) if header.format == "jpeg" else _decode_other(data, header)
    turned = header.orientation >= _FIRST_TURNED
    return Picture(
        pixels=_orient(pixels, header.orientation),
        width=header.height if turned else header.width,
        height=header.width if turned else header.height,
    )


def _check_size(header: ImageHeader, max_pixels: int) -> None:
    if min(header.width, header.height) == 0:
        raise damaged("it has no pixels")
    if header.width * header.height > max_pixels or max(header.width, header.height) > MOST_PIXELS_A_SIDE:
        raise PermanentError(
            ErrorCode.TOO_MANY_PIXELS,
            f"the picture has {header.width} x {header.height} pixels, allowed are {max_pixels}",
            limit=max_pixels,
        )


def _decode_jpeg(data: bytes, header: ImageHeader, longer_side: int | None) -> Pixels:
    """Decode strictly: libjpeg's every warning is an error, since behind it stands half a picture."""
    fraction = _reduction(header, longer_side)
    least_width = math.ceil(header.width / fraction)
    try:
        return _decode_strictly(data, header, least_width)
    except ValueError as exc:
        padding = _EXTRANEOUS.search(str(exc))
        mended = _without_padding(data) if padding else None
        if mended is None:
            raise damaged("its JPEG data is truncated or broken") from exc
    try:
        return _decode_strictly(mended, header, least_width)
    except ValueError as exc:
        raise damaged("its JPEG data is truncated or broken") from exc


_EXTRANEOUS = re.compile(r"extraneous bytes before marker 0xd9")


def _without_padding(data: bytes) -> bytes | None:
    """The file without zeros before its end marker, which some cameras write; None if there are none."""
    end = data.rfind(b"\xff\xd9")
    body = data[:end].rstrip(b"\x00")
    return body + b"\xff\xd9" if 0 <= len(body) < end else None


def _reduction(header: ImageHeader, longer_side: int | None) -> int:
    """1, 2, 4 or 8. libjpeg-turbo has fast paths for these; 3/8 and the like take longer than a half."""
    if longer_side is None:
        return 1
    longest = max(header.width, header.height)
    return next((fraction for fraction in (8, 4, 2) if longest >= fraction * longer_side), 1)


def _decode_strictly(data: bytes, header: ImageHeader, least_width: int) -> Pixels:
    if header.components == CMYK:
        return _rgb_from_cmyk(simplejpeg.decode_jpeg(data, colorspace="CMYK", min_width=least_width, strict=True))
    pixels: Pixels = simplejpeg.decode_jpeg(data, colorspace="RGB", min_width=least_width, strict=True)
    return pixels


def _rgb_from_cmyk(cmyk: Pixels) -> Pixels:
    """Adobe's programs, the only ones in use that write CMYK, store it inverted: 255 means no ink."""
    black = np.repeat(cmyk[..., 3:], 3, axis=2)
    return np.asarray(cv2.multiply(cmyk[..., :3], black, scale=1 / 255), np.uint8)


def _decode_other(data: bytes, header: ImageHeader) -> Pixels:
    """PNG and WebP by OpenCV: 16 bits become 8, palettes and greys become RGB, alpha is dropped."""
    if header.format == "png":
        check_png(data)
    flags = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error as exc:
        raise damaged("it cannot be decoded") from exc
    if pixels is None or pixels.shape[:2] != (header.height, header.width):
        raise damaged("it cannot be decoded")
    return np.asarray(pixels, np.uint8)


_FIRST_TURNED = 5
"""From this Exif orientation on, width and height are exchanged."""


def _orient(pixels: Pixels, orientation: int) -> Pixels:
    """Apply an Exif orientation: 2 to 4 mirror and turn by half, 5 to 8 turn by a quarter."""
    transposed, turn = _TURNS[orientation]
    if transposed:
        pixels = np.asarray(cv2.transpose(pixels), np.uint8)
    return pixels if turn is None else np.asarray(cv2.flip(pixels, turn), np.uint8)


_LEFT_RIGHT, _UPSIDE_DOWN, _BOTH = 1, 0, -1
_TURNS: dict[int, tuple[bool, int | None]] = {
    1: (False, None),
    2: (False, _LEFT_RIGHT),
    3: (False, _BOTH),
    4: (False, _UPSIDE_DOWN),
    5: (True, None),
    6: (True, _LEFT_RIGHT),
    7: (True, _BOTH),
    8: (True, _UPSIDE_DOWN),
}
"""For each Exif orientation: whether rows and columns are exchanged first, and the flip that follows (OpenCV)."""
