"""Hostile image files, made from a good one by a seed: everything that a stranger may send instead of a selfie."""

import io
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from random import Random
from typing import Any

import numpy as np
from PIL import Image, ImageCms
from support.samples import astronaut_jpeg

PNG_MAGIC = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Hostile:
    """One file. `name` tells how it was made."""

    name: str
    data: bytes


@cache
def portrait() -> Image.Image:
    """The astronaut's head and shoulders, 256 x 256, RGB."""
    return Image.open(io.BytesIO(astronaut_jpeg())).convert("RGB").crop((96, 0, 352, 256))


def saved(picture: Image.Image, kind: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, kind, **options)
    return stream.getvalue()


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(*chunks: tuple[bytes, bytes]) -> bytes:
    return PNG_MAGIC + b"".join(chunk(kind, body) for kind, body in chunks)


def header(width: int, height: int, depth: int = 8, colour: int = 2, interlaced: int = 0) -> tuple[bytes, bytes]:
    return b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlaced)


def sixteen_bits(picture: Image.Image) -> bytes:
    """A PNG of 16 bits a channel, which Pillow does not write."""
    pixels = np.asarray(picture).astype(">u2") * 257
    raw = b"".join(b"\x00" + row.astype(">u2").tobytes() for row in pixels)
    return png(header(*picture.size, depth=16), (b"IDAT", zlib.compress(raw)), (b"IEND", b""))


def riff(*chunks: tuple[bytes, bytes]) -> bytes:
    body = b"".join(kind + struct.pack("<I", len(data)) + data + b"\0" * (len(data) & 1) for kind, data in chunks)
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body


def colour_profile() -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


KINDS: dict[str, Callable[[Image.Image], bytes]] = {
    "jpeg": lambda picture: saved(picture, "JPEG", quality=92),
    "progressive jpeg": lambda picture: saved(picture, "JPEG", quality=92, progressive=True),
    "jpeg with restarts": lambda picture: saved(picture, "JPEG", quality=92, restart_marker_rows=1),
    "jpeg with profile": lambda picture: saved(picture, "JPEG", quality=92, icc_profile=colour_profile()),
    "grey jpeg": lambda picture: saved(picture.convert("L"), "JPEG", quality=92),
    "cmyk jpeg": lambda picture: saved(picture.convert("CMYK"), "JPEG", quality=92),
    "png": lambda picture: saved(picture, "PNG"),
    "png with profile": lambda picture: saved(picture, "PNG", icc_profile=colour_profile()),
    "palette png": lambda picture: saved(picture.quantize(256), "PNG"),
    "palette png with transparency": lambda picture: saved(picture.quantize(256), "PNG", transparency=3),
    "grey png": lambda picture: saved(picture.convert("L"), "PNG"),
    "alpha png": lambda picture: saved(picture.convert("RGBA"), "PNG"),
    "16-bit png": sixteen_bits,
    "lossy webp": lambda picture: saved(picture, "WEBP", quality=92),
    "lossless webp": lambda picture: saved(picture, "WEBP", lossless=True),
    "alpha webp": lambda picture: saved(_see_through(picture), "WEBP", quality=92),
}
"""Every kind of picture that is read, from an RGB picture."""


def _see_through(picture: Image.Image) -> Image.Image:
    seen = picture.convert("RGBA")
    seen.putalpha(Image.linear_gradient("L").resize(picture.size).point(lambda level: max(level, 200)))
    return seen


@cache
def good_files() -> dict[str, bytes]:
    return {kind: make(portrait()) for kind, make in KINDS.items()}


def hostile_files(seed: int, each: int) -> Iterator[Hostile]:
    """`each` files of every way to spoil one, and those that are made but once."""
    for way, spoil in WAYS.items():
        for number in range(each):
            random = Random(f"{seed} {way} {number}")  # noqa: S311 - no secret
            kind = random.choice(list(KINDS))
            yield Hostile(name=f"{way}, {kind}, seed {seed}/{number}", data=spoil(good_files()[kind], random))
    for name, make in MADE.items():
        yield Hostile(name=name, data=make())


def _flipped(data: bytes, random: Random) -> bytes:
    changed = bytearray(data)
    for _ in range(random.choice([1, 2, 8, 64])):
        changed[random.randrange(len(changed))] ^= 1 << random.randrange(8)
    return bytes(changed)


def _flipped_in_the_header(data: bytes, random: Random) -> bytes:
    changed = bytearray(data)
    for _ in range(random.choice([1, 3])):
        changed[random.randrange(2, min(700, len(changed)))] = random.choice([0, 1, 0x7F, 0x80, 0xFF])
    return bytes(changed)


def _cut(data: bytes, random: Random) -> bytes:
    return data[: random.randrange(len(data))]


def _cut_at_a_part(data: bytes, random: Random) -> bytes:
    """Just before, in and behind the beginning of a segment or chunk."""
    start, end = random.choice(parts_of(data))
    return data[: random.choice([start, start + 1, start + 3, start + 7, (start + end) // 2, end - 1])]


def _part_left_out(data: bytes, random: Random) -> bytes:
    start, end = random.choice(parts_of(data))
    return data[:start] + data[end:]


def _part_repeated(data: bytes, random: Random) -> bytes:
    start, end = random.choice(parts_of(data))
    return data[:end] + data[start:end] * random.choice([1, 3, 50]) + data[end:]


def _parts_exchanged(data: bytes, random: Random) -> bytes:
    parts = parts_of(data)
    pieces = [data[start:end] for start, end in parts]
    random.shuffle(pieces)
    return data[: parts[0][0]] + b"".join(pieces) + data[parts[-1][1] :]


def _wrong_length(data: bytes, random: Random) -> bytes:
    changed = bytearray(data)
    start, _ = random.choice(parts_of(data))
    wide = data[:2] != b"\xff\xd8"
    at = start + (4 if data[:4] == b"RIFF" else 0 if wide else 2)
    form = "<I" if data[:4] == b"RIFF" else ">I" if wide else ">H"
    most = 2**32 - 1 if wide else 2**16 - 1
    struct.pack_into(form, changed, at, random.choice([0, 1, 2, 3, 1000, most // 2, most - 7, most]))
    return bytes(changed)


def _filled(data: bytes, random: Random) -> bytes:
    start, end = random.choice(parts_of(data))
    middle = (start + end) // 2
    return (
        data[:middle] + random.choice([b"\x00", b"\xff", b"\xff\x00"]) * random.randrange(1, 500) + data[middle:]
    )


def _other_pixels(data: bytes, random: Random) -> bytes:
    half = len(data) // 2
    return data[:half] + random.randbytes(random.randrange(1, 400)) + data[half + random.randrange(400) :]


def _joined(data: bytes, random: Random) -> bytes:
    other = random.choice(list(good_files().values()))
    return random.choice([data + other, data[: len(data) // 2] + other, other[: len(other) // 3] + data])


def _disguised(data: bytes, random: Random) -> bytes:
    """The beginning of another format, or another format behind."""
    before = [
        b"GIF89a",
        b"%PDF-1.7\n",
        b"PK\x03\x04",
        b"<html><script>",
        b"BM",
        b"\x00\x00\x00\x1cftypheic",
        b"\xef\xbb\xbf",
    ]
    if random.random() < 0.5:
        return random.choice(before) + data
    return data + b"PK\x05\x06" + bytes(18) + b"<script>alert(1)</script><?php system($_GET[0]); ?>"


WAYS: dict[str, Callable[[bytes, Random], bytes]] = {
    "bits flipped": _flipped,
    "header bytes changed": _flipped_in_the_header,
    "cut": _cut,
    "cut at a part": _cut_at_a_part,
    "part left out": _part_left_out,
    "part repeated": _part_repeated,
    "parts exchanged": _parts_exchanged,
    "wrong length": _wrong_length,
    "filled up": _filled,
    "other pixels": _other_pixels,
    "joined": _joined,
    "disguised": _disguised,
}


def parts_of(data: bytes) -> list[tuple[int, int]]:
    """Beginning and end of every segment of a JPEG, or chunk of a PNG or WebP file."""
    if data[:2] == b"\xff\xd8":
        return list(_segments(data))
    position, parts = (12, []) if data[:4] == b"RIFF" else (8, [])
    while position + 8 <= len(data):
        if data[:4] == b"RIFF":
            (length,) = struct.unpack_from("<I", data, position + 4)
            end = position + 8 + length + (length & 1)
        else:
            (length,) = struct.unpack_from(">I", data, position)
            end = position + 12 + length
        parts.append((position, end))
        position = end
    return parts


def _segments(data: bytes) -> Iterator[tuple[int, int]]:
    position = 2
    while data[position : position + 2] != b"\xff\xd9":
        (length,) = struct.unpack_from(">H", data, position + 2)
        end = position + 2 + length
        if data[position + 1] == 0xDA:
            while not (data[end] == 0xFF and data[end + 1] not in (0, *range(0xD0, 0xD8))):
                end += 1
        yield position, end
        position = end


# --- made but once ---


def _announcing(width: int, height: int) -> bytes:
    """A small JPEG that says it is larger."""
    data = bytearray(good_files()["jpeg"])
    struct.pack_into(">HH", data, data.index(b"\xff\xc0") + 5, height, width)
    return bytes(data)


def _bomb(width: int, height: int, *chunks: tuple[bytes, bytes], colour: int = 2, packed: int = 0) -> bytes:
    """A PNG whose rows are all zeros, or as many as `packed` bytes."""
    size = packed or height * (1 + width * {0: 1, 2: 3, 6: 4}[colour])
    packer = zlib.compressobj(9)
    pixels = b"".join(packer.compress(bytes(min(2**20, size - at))) for at in range(0, size, 2**20))
    return png(header(width, height, colour=colour), *chunks, (b"IDAT", pixels + packer.flush()), (b"IEND", b""))


def _packed(size: int) -> bytes:
    packer = zlib.compressobj(9)
    return b"".join(packer.compress(bytes(2**20)) for _ in range(size // 2**20)) + packer.flush()


def _exif(tiff: bytes) -> bytes:
    return saved(portrait(), "JPEG", exif=b"Exif\x00\x00" + tiff)


def _many_scans(number: int) -> bytes:
    data = saved(portrait().resize((1200, 1200)), "JPEG", progressive=True)
    scan = data[data.rindex(b"\xff\xda") : -2]
    return data[:-2] + scan * number + data[-2:]


def _other_frame(marker: int, **changed: int) -> bytes:
    data = bytearray(good_files()["jpeg"])
    at = data.index(b"\xff\xc0")
    data[at + 1] = marker
    for name, value in changed.items():
        data[at + {"precision": 4, "components": 9, "sampling": 11, "table": 12}[name]] = value
    return bytes(data)


def _animated(kind: str) -> bytes:
    frames = [portrait(), portrait().transpose(Image.Transpose.FLIP_LEFT_RIGHT)]
    return saved(frames[0], kind, save_all=True, append_images=frames[1:])


def _vp8x(flags: int, width: int, height: int, *chunks: tuple[bytes, bytes]) -> bytes:
    sides = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return riff((b"VP8X", bytes([flags, 0, 0, 0]) + sides), *chunks)


def _webp_chunk(kind: str) -> tuple[bytes, bytes]:
    data = good_files()[kind]
    start, end = next(part for part in parts_of(data) if data[part[0] : part[0] + 3] == b"VP8")
    return data[start : start + 4], data[start + 8 : end]


_ROWS = zlib.compress(bytes(100 * 301))

MADE: dict[str, Callable[[], bytes]] = {
    "nothing": lambda: b"",
    "one byte": lambda: b"\xff",
    "magic of a jpeg alone": lambda: b"\xff\xd8\xff",
    "magic of a png alone": lambda: PNG_MAGIC,
    "magic of a webp alone": lambda: b"RIFF\x04\x00\x00\x00WEBP",
    "animated png": lambda: _animated("PNG"),
    "animated webp": lambda: _animated("WEBP"),
    "animated gif": lambda: _animated("GIF"),
    "tiff": lambda: saved(portrait(), "TIFF"),
    "bmp": lambda: saved(portrait(), "BMP"),
    "avif": lambda: saved(portrait(), "AVIF"),
    "jpeg 2000": lambda: saved(portrait(), "JPEG2000"),
    "svg": lambda: b"<?xml version='1.0'?><svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/>",
    "jpeg announcing 65535 x 65535": lambda: _announcing(65535, 65535),
    "jpeg announcing 4096 x 4096": lambda: _announcing(4096, 4096),
    "jpeg announcing 65000 x 200": lambda: _announcing(65000, 200),
    "jpeg announcing 0 x 0": lambda: _announcing(0, 0),
    "jpeg announcing height 0": lambda: _announcing(256, 0),
    "jpeg of 201 scans": lambda: _many_scans(201),
    "jpeg of 150 scans": lambda: _many_scans(150),
    "jpeg of 12 bits": lambda: _other_frame(0xC1, precision=12),
    "jpeg of arithmetic coding": lambda: _other_frame(0xC9),
    "jpeg called lossless": lambda: _other_frame(0xC3),
    "jpeg called progressive": lambda: _other_frame(0xC2),
    "jpeg of no components": lambda: _other_frame(0xC0, components=0),
    "jpeg of two components": lambda: _other_frame(0xC0, components=2),
    "jpeg of 255 components": lambda: _other_frame(0xC0, components=255),
    "jpeg of sampling 0": lambda: _other_frame(0xC0, sampling=0),
    "jpeg of sampling 255": lambda: _other_frame(0xC0, sampling=255),
    "jpeg of table 255": lambda: _other_frame(0xC0, table=255),
    "exif that points to itself": lambda: _exif(
        b"II*\x00\x08\x00\x00\x00\x01\x00\x69\x87\x04\x00\x01\x00\x00\x00\x08\x00\x00\x00"
    ),
    "exif of 65535 entries": lambda: _exif(b"MM\x00*\x00\x00\x00\x08\xff\xff" + bytes(60000)),
    "exif beyond its end": lambda: _exif(b"II*\x00\xf0\xff\xff\xff"),
    "png bomb within the limit": lambda: _bomb(4096, 4096),
    "png bomb of more rows than announced": lambda: _bomb(100, 100, packed=200 * 2**20),
    "png bomb beyond the limit": lambda: _bomb(50_000, 300, colour=0),
    "png of a packed text of 100 MB": lambda: _bomb(100, 100, (b"zTXt", b"a\0\0" + _packed(100 * 2**20))),
    "png of a packed profile of 100 MB": lambda: _bomb(100, 100, (b"iCCP", b"a\0\0" + _packed(100 * 2**20))),
    "png of no pixels": lambda: png(header(100, 100), (b"IEND", b"")),
    "png of broken zlib": lambda: png(header(100, 100), (b"IDAT", b"\x78\x9c" + bytes(500)), (b"IEND", b"")),
    "png of colour type 5": lambda: png(header(100, 100, colour=5), (b"IDAT", _ROWS), (b"IEND", b"")),
    "png of 3 bits": lambda: png(header(100, 100, depth=3), (b"IDAT", _ROWS), (b"IEND", b"")),
    "png of a palette that is not there": lambda: png(
        header(100, 100, colour=3), (b"IDAT", _ROWS), (b"IEND", b"")
    ),
    "png of interlacing 9": lambda: png(header(100, 100, interlaced=9), (b"IDAT", _ROWS), (b"IEND", b"")),
    "png interlaced with too few rows": lambda: png(
        header(100, 200, interlaced=1), (b"IDAT", _ROWS), (b"IEND", b"")
    ),
    "png of filter 9": lambda: png(header(1, 1), (b"IDAT", zlib.compress(b"\x09\0\0\0")), (b"IEND", b"")),
    "png with a short transparency": lambda: png(
        header(100, 100), (b"tRNS", b"\0"), (b"IDAT", _ROWS), (b"IEND", b"")
    ),
    "png with an animation's frame alone": lambda: png(
        header(100, 100), (b"fcTL", bytes(26)), (b"IDAT", _ROWS), (b"IEND", b"")
    ),
    "webp larger than its picture": lambda: _vp8x(0, 4000, 4000, _webp_chunk("lossy webp")),
    "webp smaller than its picture": lambda: _vp8x(0, 10, 10, _webp_chunk("lossless webp")),
    "webp of two pictures": lambda: _vp8x(0, 256, 256, _webp_chunk("lossy webp"), _webp_chunk("lossless webp")),
    "webp of broken alpha": lambda: _vp8x(
        0x10, 256, 256, (b"ALPH", b"\x01" + bytes(50)), _webp_chunk("lossy webp")
    ),
    "webp without a picture": lambda: _vp8x(0, 256, 256),
    "webp called animated": lambda: _vp8x(0x02, 256, 256, _webp_chunk("lossy webp")),
    "webp of 16384 x 16384": lambda: riff((b"VP8L", b"\x2f\xff\xff\xff\x0f" + bytes(100))),
    "webp of nonsense": lambda: riff((b"VP8L", b"\x2f\xff\xc0\x3f\x00" + Random(1).randbytes(3000))),  # noqa: S311 - as above,
}
"""Files that no seed would find."""
