"""Every kind of file that is a picture, looks like one, or was one: decoded right, or refused with its code."""

import io
import struct
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps
from support.samples import astronaut_jpeg

from facepass.embedding import decode_image
from facepass.embedding.headers import read_header
from facepass.schemas.errors import ErrorCode, PermanentError

MAX_PIXELS = 10_000_000


def _photo(width: int = 192, height: int = 128) -> Image.Image:
    return (
        Image.open(io.BytesIO(astronaut_jpeg())).convert("RGB").crop((150, 20, 342, 148)).resize((width, height))
    )


def _file(picture: Image.Image, kind: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, kind, **options)
    return stream.getvalue()


def _sixteen_bits(colours: int) -> bytes:
    """A PNG of 16 bits a channel, which Pillow does not write for RGB."""
    pixels = np.asarray(_photo() if colours == 3 else _photo().convert("L"))
    rows = (pixels.astype(">u2") * 257).reshape(pixels.shape[0], -1)
    raw = b"".join(b"\x00" + row.tobytes() for row in rows)
    header = struct.pack(">IIBBBBB", pixels.shape[1], pixels.shape[0], 16, 2 if colours == 3 else 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(raw)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, body) for kind, body in chunks)


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _code(data: bytes, **limits: int) -> ErrorCode:
    with pytest.raises(PermanentError) as caught:
        decode_image(data, **{"max_pixels": MAX_PIXELS, **limits})
    return caught.value.code


KINDS: dict[str, Callable[[], bytes]] = {
    "jpeg": lambda: _file(_photo(), "JPEG", quality=95),
    "progressive jpeg": lambda: _file(_photo(), "JPEG", quality=95, progressive=True),
    "jpeg with restart markers": lambda: _file(_photo(), "JPEG", quality=95, restart_marker_rows=1),
    "cmyk jpeg": lambda: _file(_photo().convert("CMYK"), "JPEG", quality=95),
    "png": lambda: _file(_photo(), "PNG"),
    "alpha png": lambda: _file(_photo().convert("RGBA"), "PNG"),
    "16-bit png": lambda: _sixteen_bits(3),
    "lossless webp": lambda: _file(_photo(), "WEBP", lossless=True),
    "lossy webp": lambda: _file(_photo(), "WEBP", quality=95),
    "alpha webp": lambda: _file(_photo().convert("RGBA"), "WEBP", quality=95),
}
GREY_KINDS: dict[str, Callable[[], bytes]] = {
    "grey jpeg": lambda: _file(_photo().convert("L"), "JPEG", quality=95),
    "grey png": lambda: _file(_photo().convert("L"), "PNG"),
    "grey alpha png": lambda: _file(_photo().convert("LA"), "PNG"),
    "grey 16-bit png": lambda: _sixteen_bits(1),
}


def _difference(data: bytes, expected: Image.Image) -> float:
    decoded = decode_image(data, max_pixels=MAX_PIXELS)
    assert (decoded.width, decoded.height) == expected.size
    reference = np.asarray(expected.convert("RGB"), np.int16)
    assert decoded.pixels.shape == reference.shape
    return float(np.abs(decoded.pixels - reference).mean())


@pytest.mark.parametrize("kind", KINDS)
def test_kinds_of_files_decode_to_the_same_picture(kind: str) -> None:
    assert _difference(KINDS[kind](), _photo()) < 4


@pytest.mark.parametrize("kind", GREY_KINDS)
def test_grey_files_decode_to_the_same_picture(kind: str) -> None:
    assert _difference(GREY_KINDS[kind](), _photo().convert("L")) < 4


def test_palette_png_decodes_to_its_colours() -> None:
    picture = _photo().quantize(64)
    assert _difference(_file(picture, "PNG"), picture) < 1


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_exif_orientation_is_applied(kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = _file(_photo(), kind, exif=exif, quality=95)
    assert _difference(data, ImageOps.exif_transpose(Image.open(io.BytesIO(data)))) < 2


def test_exif_without_sense_is_no_error() -> None:
    exif = Image.Exif()
    exif[0x0112] = 9
    assert read_header(_file(_photo(), "JPEG", exif=exif)).orientation == 1
    assert read_header(_file(_photo(), "JPEG", exif=b"Exif\x00\x00II*\x00\xff\xff\xff\xff")).orientation == 1


@pytest.mark.parametrize(("longer_side", "fraction"), [(900, 1), (800, 2), (500, 2), (400, 4), (200, 8), (10, 8)])
@pytest.mark.parametrize("progressive", [False, True])
def test_reduced_decode_is_large_enough_and_reports_the_full_size(
    longer_side: int, fraction: int, progressive: bool
) -> None:
    data = _file(_photo(1603, 1067), "JPEG", quality=95, progressive=progressive)
    decoded = decode_image(data, max_pixels=MAX_PIXELS, longer_side=longer_side)
    assert (decoded.width, decoded.height) == (1603, 1067)
    assert decoded.pixels.shape == (-(-1067 // fraction), -(-1603 // fraction), 3)
    assert max(decoded.pixels.shape) >= longer_side
    reference = np.asarray(_photo(1603, 1067).resize(decoded.pixels.shape[1::-1], Image.Resampling.BOX), np.int16)
    assert float(np.abs(decoded.pixels - reference).mean()) < 4


def test_reduced_decode_of_a_turned_photo() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = _file(_photo(1600, 1066), "JPEG", exif=exif)
    decoded = decode_image(data, max_pixels=MAX_PIXELS, longer_side=700)
    assert (decoded.width, decoded.height) == (1066, 1600)
    assert decoded.pixels.shape == (800, 533, 3)


# --- what is refused ---


@pytest.mark.property(17)
@pytest.mark.parametrize("kind", [*KINDS, *GREY_KINDS])
def test_property_17_a_file_cut_anywhere_is_refused(kind: str) -> None:
    data = {**KINDS, **GREY_KINDS}[kind]()
    for length in range(16, len(data), max(1, len(data) // 60)):
        assert _code(data[:length]) in (ErrorCode.DAMAGED_IMAGE, ErrorCode.UNSUPPORTED_IMAGE), length
    assert _code(data[: len(data) // 2]) is ErrorCode.DAMAGED_IMAGE


def _jpeg_header(width: int, height: int) -> bytes:
    data = bytearray(_file(_photo(), "JPEG"))
    at = data.index(b"\xff\xc0")
    data[at + 5 : at + 9] = struct.pack(">HH", height, width)
    return bytes(data)


def _png_header(width: int, height: int) -> bytes:
    body = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", body) + _chunk(b"IDAT", b"") + _chunk(b"IEND", b"")


def _webp_header(width: int, height: int) -> bytes:
    sides = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    body = b"WEBPVP8X" + struct.pack("<I", 10) + bytes(4) + sides
    return b"RIFF" + struct.pack("<I", len(body)) + body


@pytest.mark.property(17)
@pytest.mark.parametrize("header", [_jpeg_header, _png_header, _webp_header])
@pytest.mark.parametrize(("width", "height"), [(65_000, 65_000), (4_000, 2_501)])
def test_property_17_too_many_pixels_are_refused_by_the_header(
    header: Callable[[int, int], bytes], width: int, height: int
) -> None:
    assert _code(header(width, height)) is ErrorCode.TOO_MANY_PIXELS


@pytest.mark.property(17)
@pytest.mark.parametrize("size", [(0, 100), (100, 0)])
@pytest.mark.parametrize("header", [_jpeg_header, _png_header])
def test_property_17_no_pixels_are_refused(header: Callable[[int, int], bytes], size: tuple[int, int]) -> None:
    assert _code(header(*size)) is ErrorCode.DAMAGED_IMAGE


@pytest.mark.property(17)
def test_property_17_a_line_of_more_pixels_than_any_camera_makes_is_refused() -> None:
    assert _code(_png_header(1_000_000, 1)) is ErrorCode.TOO_MANY_PIXELS


@pytest.mark.property(17)
def test_property_17_a_file_of_too_many_bytes_is_refused() -> None:
    data = _file(_photo(), "JPEG")
    assert _code(data, max_bytes=len(data) - 1) is ErrorCode.FILE_TOO_LARGE
    assert decode_image(data, max_pixels=MAX_PIXELS, max_bytes=len(data)).width == 192


@pytest.mark.property(17)
@pytest.mark.parametrize("kind", ["GIF", "BMP", "TIFF", "JPEG2000", "AVIF", "PPM"])
def test_property_17_other_formats_are_refused(kind: str) -> None:
    assert _code(_file(_photo(), kind)) is ErrorCode.UNSUPPORTED_IMAGE


@pytest.mark.property(17)
@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_property_17_animated_files_are_refused(kind: str) -> None:
    frames = [_photo(), ImageOps.mirror(_photo())]
    data = _file(frames[0], kind, save_all=True, append_images=frames[1:])
    assert _code(data) is ErrorCode.UNSUPPORTED_IMAGE


@pytest.mark.property(17)
@settings(deadline=None)
@given(st.binary(max_size=200))
def test_property_17_bytes_that_are_no_picture_are_refused(data: bytes) -> None:
    assert _code(b"no" + data) is ErrorCode.UNSUPPORTED_IMAGE
    for magic in (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF\x20\x00\x00\x00WEBP"):
        assert _code(magic + data) in (
            ErrorCode.DAMAGED_IMAGE,
            ErrorCode.UNSUPPORTED_IMAGE,
            ErrorCode.TOO_MANY_PIXELS,
        )


@pytest.mark.property(17)
@settings(deadline=None, max_examples=200)
@given(kind=st.sampled_from([*KINDS]), position=st.floats(0, 1), bit=st.integers(0, 7))
def test_property_17_a_flipped_bit_ends_in_a_typed_error_or_a_whole_picture(
    kind: str, position: float, bit: int
) -> None:
    data = bytearray(KINDS[kind]())
    data[int(position * (len(data) - 1))] ^= 1 << bit
    try:
        decoded = decode_image(bytes(data), max_pixels=MAX_PIXELS)
    except PermanentError:
        return
    assert decoded.pixels.shape[:2] == (decoded.height, decoded.width)


def test_every_flipped_bit_in_the_pixels_of_a_png_is_noticed() -> None:
    data = _file(_photo(32, 32), "PNG")
    start = data.index(b"IDAT")
    for position in range(start, len(data) - 12, 37):
        changed = bytearray(data)
        changed[position] ^= 0x10
        assert _code(bytes(changed)) is ErrorCode.DAMAGED_IMAGE


def test_half_a_jpeg_is_refused_however_it_ends() -> None:
    data = _file(_photo(640, 480), "JPEG", quality=90)
    half = data[: len(data) // 2]
    for ending in (b"", b"\xff\xd9", data, b"\x00" * 1000, b"\x00" * 1000 + b"\xff\xd9"):
        assert _code(half + ending) is ErrorCode.DAMAGED_IMAGE
        assert _code(half + ending, longer_side=80) is ErrorCode.DAMAGED_IMAGE


def test_half_the_rows_of_a_png_are_refused_although_every_checksum_fits() -> None:
    whole = zlib.decompress(_idat(_file(_photo(), "PNG")))
    body = struct.pack(">IIBBBBB", 192, 128, 8, 2, 0, 0, 0)
    for pixels in (zlib.compress(whole[: len(whole) // 2]), zlib.compress(whole)[:-2000]):
        data = b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", body) + _chunk(b"IDAT", pixels) + _chunk(b"IEND", b"")
        assert _code(data) is ErrorCode.DAMAGED_IMAGE


def _idat(data: bytes) -> bytes:
    position, found = 8, b""
    while position < len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        if kind == b"IDAT":
            found += data[position + 8 : position + 8 + length]
        position += 12 + length
    return found


def test_a_progressive_jpeg_of_thousands_of_scans_is_refused() -> None:
    data = _file(_photo(), "JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    scan = data[last:-2]
    assert _code(data[:-2] + scan * 1000 + b"\xff\xd9") is ErrorCode.UNSUPPORTED_IMAGE


# --- what cameras write and what is harmless ---


def test_bytes_behind_the_end_are_harmless() -> None:
    jpeg, png = _file(_photo(), "JPEG", quality=95), _file(_photo(), "PNG")
    for data in (jpeg + b"\x00" * 512, jpeg + b"trailer", jpeg + jpeg, png + b"\x00" * 512):
        assert _difference(data, _photo()) < 4


def test_zeros_before_the_end_marker_are_harmless() -> None:
    data = _file(_photo(), "JPEG", quality=95)
    assert _difference(data[:-2] + b"\x00" * 100 + b"\xff\xd9", _photo()) < 4


def test_zeros_before_the_end_marker_do_not_hide_damage() -> None:
    data = _file(_photo(640, 480), "JPEG", quality=90)
    half = len(data) // 2
    broken = data[:half] + data[half + 2000 :]
    assert _code(broken) is ErrorCode.DAMAGED_IMAGE
    for zeros in (1, 100, 4000):
        assert _code(broken[:-2] + b"\x00" * zeros + b"\xff\xd9") is ErrorCode.DAMAGED_IMAGE


def test_of_several_pictures_in_a_phone_file_the_first_counts() -> None:
    data = _file(_photo(), "MPO", save_all=True, append_images=[ImageOps.mirror(_photo())], quality=95)
    assert Image.open(io.BytesIO(data)).format == "MPO"
    assert _difference(data, _photo()) < 4


def test_a_header_without_end_is_refused_soon() -> None:
    """Ten megabytes of empty parts: read to their end they would take a second of Python."""
    jpeg, png = _file(_photo(), "JPEG"), _file(_photo(), "PNG")
    body = b"WEBPVP8X" + struct.pack("<I", 10) + b"\x08" + bytes(3) + bytes((191, 0, 0, 127, 0, 0))
    chunks = body + (b"XXXX" + bytes(4)) * 1_250_000
    endless = [
        jpeg[:2] + b"\xff\xfe\x00\x02" * 2_500_000 + jpeg[2:],
        png[:33] + _chunk(b"teXt", b"") * 830_000 + png[33:],
        b"RIFF" + struct.pack("<I", len(chunks)) + chunks,
    ]
    for data in endless:
        with pytest.raises(PermanentError, match="does not come to an end") as caught:
            read_header(data)
        assert caught.value.code is ErrorCode.DAMAGED_IMAGE
    fill = jpeg[:2] + b"\xff" * 10_000_000 + jpeg[2:]
    assert _difference(fill, _photo()) < 6
