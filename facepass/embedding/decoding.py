"""Bytes of a photo to oriented RGB pixels."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
import simplejpeg
from numpy.typing import NDArray

from facepass.embedding.headers import CMYK, FileBytes, ImageHeader, check_png, damaged, read_header
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


Room = Callable[[tuple[int, int]], Pixels]
"""Gives an array of that height and width, of RGB pixels, to decode into."""


def decode_image(
    data: FileBytes, *, max_pixels: int, max_bytes: int | None = None, longer_side: int | None = None
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
    check_bytes(data, max_bytes)
    return decode_with_header(data, read_checked_header(data, max_pixels), longer_side=longer_side)


def check_bytes(data: FileBytes, max_bytes: int | None) -> None:
    """Refuse a file of more than `max_bytes` bytes, if there is such a limit.

    Raises:
        PermanentError: `file_too_large`.
    """
    if max_bytes is not None and len(data) > max_bytes:
        raise PermanentError(
            ErrorCode.FILE_TOO_LARGE, f"the file has {len(data)} bytes, allowed are {max_bytes}", limit=max_bytes
        )


def read_checked_header(data: FileBytes, max_pixels: int) -> ImageHeader:
    """The header that the file announces, if that is within the limit.

    Raises:
        PermanentError: `too_many_pixels`, `unsupported_image`, `damaged_image`.
    """
    header = read_header(data)
    if min(header.width, header.height) == 0:
        raise damaged("it has no pixels")
    if header.width * header.height > max_pixels or max(header.width, header.height) > MOST_PIXELS_A_SIDE:
        raise PermanentError(
            ErrorCode.TOO_MANY_PIXELS,
            f"the picture has {header.width} x {header.height} pixels, allowed are {max_pixels}",
            limit=max_pixels,
        )
    return header


def new_room(size: tuple[int, int]) -> Pixels:
    """Memory of this process alone."""
    return np.empty((*size, 3), np.uint8)


def decode_with_header(
    data: FileBytes, header: ImageHeader, *, longer_side: int | None, room: Room = new_room
) -> Picture:
    """The pixels behind a header that was checked; see `decode_image`.

    Args:
        room: where the last step writes to, if it can: the picture may also lie elsewhere.

    Raises:
        PermanentError: `damaged_image`.
    """
    upright = header.orientation == 1
    if header.format == "jpeg":
        pixels = _decode_jpeg(data, header, longer_side, room if upright else new_room)
    else:
        pixels = _decode_other(data, header)
    turned = header.orientation >= _FIRST_TURNED
    return Picture(
        pixels=pixels if upright else _orient(pixels, header.orientation, room),
        width=header.height if turned else header.width,
        height=header.width if turned else header.height,
    )


def _decode_jpeg(data: FileBytes, header: ImageHeader, longer_side: int | None, room: Room) -> Pixels:
    """Decode strictly: libjpeg's every warning is an error, since behind it stands half a picture."""
    fraction = _reduction(header, longer_side)
    size = math.ceil(header.height / fraction), math.ceil(header.width / fraction)
    try:
        return _decode_strictly(data, header, size, room)
    except ValueError as exc:
        mended = _without_padding(bytes(data)) if _EXTRANEOUS in str(exc) else None
        if mended is None:
            raise _jpeg_error(exc) from exc
    try:
        return _decode_strictly(mended, header, size, room)
    except ValueError as exc:
        raise _jpeg_error(exc) from exc


def _jpeg_error(exc: ValueError) -> Exception:
    if _NO_MEMORY in str(exc):
        return MemoryError()
    return damaged("its JPEG data is truncated or broken")


_EXTRANEOUS = "extraneous bytes before marker 0xd9"
_NO_MEMORY = "Insufficient memory"
"""libjpeg's own words."""


def _without_padding(data: bytes) -> bytes | None:
    """The file without zeros before its end marker, which some cameras write; None if there are none."""
    end = data.rfind(b"\xff\xd9")
    body = data[:end].rstrip(b"\x00")
    return body + b"\xff\xd9" if 0 <= len(body) < end else None


def _reduction(header: ImageHeader, longer_side: int | None) -> int:
    """Divisor: 1, 2, 4 or 8. libjpeg-turbo has fast paths for these; 3/8 and the like take longer than a half."""
    if longer_side is None:
        return 1
    longest = max(header.width, header.height)
    return next((fraction for fraction in (8, 4, 2) if longest >= fraction * longer_side), 1)


def _decode_strictly(data: FileBytes, header: ImageHeader, size: tuple[int, int], room: Room) -> Pixels:
    """The pixels; `size`: height and width at the reduced scale, as libjpeg-turbo rounds them."""
    if header.components == CMYK:
        return _rgb_from_cmyk(simplejpeg.decode_jpeg(data, colorspace="CMYK", min_width=size[1], strict=True))
    pixels: Pixels = simplejpeg.decode_jpeg(
        data, colorspace="RGB", min_width=size[1], strict=True, buffer=room(size)
    )
    return pixels


def _rgb_from_cmyk(cmyk: Pixels) -> Pixels:
    """The RGB pixels. Adobe's programs, alone in use to write CMYK, store it inverted: 255 means no ink."""
    black = np.repeat(cmyk[..., 3:], 3, axis=2)
    return np.asarray(cv2.multiply(cmyk[..., :3], black, scale=1 / 255), np.uint8)


def _decode_other(data: FileBytes, header: ImageHeader) -> Pixels:
    """PNG and WebP by OpenCV: 16 bits become 8, palettes and greys become RGB, alpha is dropped."""
    if header.format == "png":
        check_png(data)
    flags = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error as exc:
        if exc.code == cv2.Error.StsNoMem:
            raise MemoryError from exc
        raise damaged("it cannot be decoded") from exc
    if pixels is None or pixels.shape[:2] != (header.height, header.width):
        raise damaged("it cannot be decoded")
    return np.asarray(pixels, np.uint8)


_FIRST_TURNED = 5
"""From this Exif orientation on, width and height are exchanged."""


def _orient(pixels: Pixels, orientation: int, room: Room) -> Pixels:
    """Apply an Exif orientation: 2 to 4 mirror and turn by half, 5 to 8 turn by a quarter."""
    transposed, turn = _TURNS[orientation]
    if transposed:
        pixels = np.asarray(cv2.transpose(pixels), np.uint8)
    if turn is None:
        return pixels
    height, width = pixels.shape[:2]
    return np.asarray(cv2.flip(pixels, turn, dst=room((height, width))), np.uint8)


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
