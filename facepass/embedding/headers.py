"""The header in the first bytes of a JPEG, PNG or WebP file, read without decoding a pixel.

Read here and not by a library because size and pixel limits must hold before any decoder allocates memory, and
because a damaged PNG or WebP file must be told from a whole one (decoders are lenient).

Sources: ITU-T T.81 (JPEG), the PNG specification (third edition), RFC 9649 (WebP), Exif 2.32 (orientation).
"""

import re
import struct
import zlib
from dataclasses import dataclass
from typing import Literal

from facepass.schemas.errors import ErrorCode, PermanentError

ImageFormat = Literal["jpeg", "png", "webp"]

FileBytes = bytes | memoryview
"""A file's bytes, or a read-only view of them where they lie: a copy of a phone's photo takes a millisecond."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageHeader:
    """The header of the stored picture, before its orientation is applied.

    Attributes:
        width, height: pixels as stored.
        orientation: Exif orientation, 1 to 8; 1 when there is none or it makes no sense.
        components: colour components of a JPEG (1, 3 or 4); 0 for other formats.
    """

    format: ImageFormat
    width: int
    height: int
    orientation: int = 1
    components: int = 0


def read_header(data: FileBytes) -> ImageHeader:
    """Read format, size and orientation.

    Raises:
        PermanentError: `unsupported_image` if the first bytes are of none of the three formats, or of a kind
            that is not read (animated, lossless or 12-bit JPEG); `damaged_image` if the structure breaks off.
    """
    try:
        if data[:3] == b"\xff\xd8\xff":
            return _read_jpeg(data)
        if data[:8] == b"\x89PNG\r\n\x1a\n":
            return _read_png(data)
        if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
            return _read_webp(data)
    except (struct.error, IndexError) as exc:
        raise damaged("the header breaks off") from exc
    raise unsupported("not a JPEG, PNG or WebP file")


def damaged(reason: str) -> PermanentError:
    """The error of a picture that cannot be decoded completely."""
    return PermanentError(ErrorCode.DAMAGED_IMAGE, f"the picture is damaged: {reason}")


def unsupported(reason: str) -> PermanentError:
    """The error of a file that is not read, whole or not."""
    return PermanentError(ErrorCode.UNSUPPORTED_IMAGE, f"the picture cannot be read: {reason}")


# --- JPEG ---

_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_JPEG_READ = frozenset({0xC0, 0xC1, 0xC2})
"""Baseline, extended and progressive Huffman: what cameras and editors write."""
_JPEG_ALONE = frozenset({0x01, *range(0xD0, 0xD9)})
"""Markers without a length."""
_START_OF_SCAN, _END_OF_IMAGE, _APP1 = 0xDA, 0xD9, 0xE1
_GREY, _YCBCR, CMYK = 1, 3, 4
_BITS = 8

_MOST_SCANS = 200
"""A progressive picture has some ten scans; libjpeg decodes each over the whole picture, so that a small file of
thousands keeps a core busy for minutes."""

_MOST_SEGMENTS = 5_000
"""Segments or chunks before the picture's data. Cameras write some ten; a profile cut into segments of 64 KiB adds
some more. A header is read wherever a size must be known, so it must not take long."""

_PROGRESSIVE = 0xC2


def _read_jpeg(data: FileBytes) -> ImageHeader:
    frame: tuple[int, int, int] | None = None
    orientation: int | None = None
    several_scans = False
    position = 2
    for _ in range(_MOST_SEGMENTS):
        marker, position = _next_marker(data, position)
        if marker in _JPEG_ALONE:
            continue
        if marker == _END_OF_IMAGE:
            break
        (length,) = struct.unpack_from(">H", data, position)
        body = data[position + 2 : position + length]
        if marker == _START_OF_SCAN:
            several_scans = several_scans or frame is None or body[0] < frame[2]
            break
        if marker in _JPEG_FRAMES:
            frame = _read_frame(marker, body)
            several_scans = marker == _PROGRESSIVE
        elif marker == _APP1 and body[:6] == b"Exif\x00\x00" and orientation is None:
            orientation = _read_orientation(body[6:])
        position += length
    else:
        raise _endless()
    if frame is None:
        raise damaged("no frame header before the picture's data")
    # Counting takes as long as a tenth of decoding, and a picture whose only scan has all components has no other.
    if several_scans and bytes(data).count(b"\xff\xda") > _MOST_SCANS:
        raise unsupported(f"more than {_MOST_SCANS} scans")
    height, width, components = frame
    return ImageHeader(
        format="jpeg", width=width, height=height, orientation=orientation or 1, components=components
    )


def _endless() -> PermanentError:
    return damaged("its header does not come to an end")


_BETWEEN_SEGMENTS = re.compile(rb"\xff+")


def _next_marker(data: FileBytes, position: int) -> tuple[int, int]:
    """The marker at `position`, which any number of fill bytes may precede, and where it ends."""
    fill = _BETWEEN_SEGMENTS.match(data, position)
    if fill is None:
        raise damaged("bytes between the segments of the header, or it breaks off")
    return data[fill.end()], fill.end() + 1


def _read_frame(marker: int, body: FileBytes) -> tuple[int, int, int]:
    precision, height, width, components = struct.unpack_from(">BHHB", body)
    if marker not in _JPEG_READ or precision != _BITS or components not in (_GREY, _YCBCR, CMYK):
        raise unsupported("a lossless, arithmetic or 12-bit JPEG, or one of unusual components")
    return height, width, components


# --- PNG ---


def _read_png(data: FileBytes) -> ImageHeader:
    if data[12:16] != b"IHDR":
        raise damaged("no IHDR chunk")
    width, height = struct.unpack_from(">II", data, 16)
    return ImageHeader(format="png", width=width, height=height, orientation=_png_orientation(data))


def _png_orientation(data: FileBytes) -> int:
    """Walk the chunks up to the first pixel data."""
    position = 8
    orientation: int | None = None
    for _ in range(_MOST_SEGMENTS):
        length, kind = struct.unpack_from(">I4s", data, position)
        if kind == b"acTL":
            raise unsupported("an animated PNG")
        if kind == b"eXIf" and orientation is None:
            orientation = _read_orientation(data[position + 8 : position + 8 + length])
        if kind in (b"IDAT", b"IEND"):
            return orientation or 1
        position += 12 + length
    raise _endless()


def check_png(data: FileBytes) -> None:
    """Check every critical chunk's checksum, and that the file reaches its end chunk.

    Raises:
        PermanentError: `damaged_image`.
    """
    view = memoryview(data)
    position = 8
    while True:
        try:
            length, kind = struct.unpack_from(">I4s", data, position)
            (checksum,) = struct.unpack_from(">I", data, position + 8 + length)
        except struct.error as exc:
            raise damaged("the file breaks off") from exc
        critical = not kind[0] & 0x20
        if critical and zlib.crc32(view[position + 4 : position + 8 + length]) != checksum:
            raise damaged("a checksum does not fit")
        if kind == b"IEND":
            return
        position += 12 + length


# --- WebP ---

_ANIMATED = 0x02


def _read_webp(data: FileBytes) -> ImageHeader:
    (size,) = struct.unpack_from("<I", data, 4)
    if size + 8 > len(data):
        raise damaged("the file breaks off")
    kind = data[12:16]
    if kind == b"VP8 ":
        if data[23:26] != b"\x9d\x01\x2a":
            raise damaged("no key frame")
        width, height = struct.unpack_from("<HH", data, 26)
        return ImageHeader(format="webp", width=width & 0x3FFF, height=height & 0x3FFF)
    if kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        return ImageHeader(format="webp", width=(bits & 0x3FFF) + 1, height=(bits >> 14 & 0x3FFF) + 1)
    if kind == b"VP8X":
        if data[20] & _ANIMATED:
            raise unsupported("an animated WebP")
        width, height = (int.from_bytes(data[at : at + 3], "little") + 1 for at in (24, 27))
        return ImageHeader(format="webp", width=width, height=height, orientation=_webp_orientation(data))
    raise damaged("no picture in the WebP file")


def _webp_orientation(data: FileBytes) -> int:
    position = 12
    for _ in range(_MOST_SEGMENTS):
        if position + 8 > len(data):
            return 1
        kind, length = struct.unpack_from("<4sI", data, position)
        if kind == b"EXIF":
            body = bytes(data[position + 8 : position + 8 + length])
            return _read_orientation(body.removeprefix(b"Exif\x00\x00"))
        position += 8 + length + (length & 1)
    raise _endless()


# --- Exif ---

_ORIENTATION_TAG, _SHORT = 0x0112, 3
_ORIENTATIONS = range(1, 9)


def _read_orientation(tiff: FileBytes) -> int:
    """The orientation in a TIFF header's first directory; 1 where there is none or it is malformed.

    Exif that makes no sense is common and says nothing about the picture, so it is no error.
    """
    order = {b"II*\x00": "<", b"MM\x00*": ">"}.get(bytes(tiff[:4]))
    if order is None:
        return 1
    try:
        (directory,) = struct.unpack_from(f"{order}I", tiff, 4)
        (entries,) = struct.unpack_from(f"{order}H", tiff, directory)
        for entry in range(entries):
            tag, kind, _, value = struct.unpack_from(f"{order}HHIH", tiff, directory + 2 + 12 * entry)
            if tag == _ORIENTATION_TAG:
                return value if kind == _SHORT and value in _ORIENTATIONS else 1
    except struct.error:
        pass
    return 1
