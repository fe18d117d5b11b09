"""Looks for face vectors and pixels where none may be: in any number format, as text, in base64 or hexadecimal."""

import base64
import binascii
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

_FORMATS = ("<f2", ">f2", "<f4", ">f4", "<f8", ">f8")
_RUN = 6
"""Consecutive numbers of a vector that must agree: chance does not do that."""
_NEAR = 1e-3
"""Vectors are known as stored, in half precision."""
_PIECE = 24
"""Consecutive bytes of a file or of pixels."""

_NUMBER = re.compile(rb"-?\d*\.?\d+(?:[eE][-+]?\d+)?")
_BASE64 = re.compile(rb"[A-Za-z0-9+/_-]{64,}={0,2}")
_HEX = re.compile(rb"(?:[0-9a-fA-F]{2}){48,}")


@dataclass(frozen=True, slots=True)
class Needles:
    """What to look for, by name."""

    vectors: Mapping[str, NDArray[np.float64]]
    pieces: Mapping[str, bytes]


def needles(vectors: Mapping[str, NDArray[np.float64]], pictures: Mapping[str, bytes]) -> Needles:
    """Args:
    vectors: name to vector.
    pictures: name to the bytes of a picture; their decoded pixels are looked for too.
    """
    pieces: dict[str, bytes] = {}
    for name, data in pictures.items():
        for share in (0.3, 0.6, 0.9):
            start = int(len(data) * share)
            pieces[f"file of {name} at {share}"] = data[start : start + _PIECE]
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        if pixels is None or pixels.std() < 1:
            continue
        row = pixels[pixels.shape[0] // 2, pixels.shape[1] // 2 :][:_PIECE]
        pieces[f"pixels of {name}, BGR"] = row.tobytes()[:_PIECE]
        pieces[f"pixels of {name}, RGB"] = row[:, ::-1].tobytes()[:_PIECE]
    return Needles({name: _loudest(vector) for name, vector in vectors.items()}, pieces)


def find(data: bytes, wanted: Needles) -> list[str]:
    """Names of what is in `data`."""
    return sorted(
        set(_find_plain(data, wanted)) | set(_find_encoded(data, wanted)) | set(_find_text(data, wanted))
    )


def _loudest(vector: NDArray[np.float64]) -> NDArray[np.float64]:
    """The run of numbers farthest from zero: zeros are everywhere."""
    windows = np.lib.stride_tricks.sliding_window_view(np.abs(vector), _RUN)
    start = int(windows.min(axis=1).argmax())
    return vector[start : start + _RUN]


def _find_plain(data: bytes, wanted: Needles) -> Iterable[str]:
    for name, piece in wanted.pieces.items():
        if len(set(piece)) > 4 and piece in data:
            yield name
    for kind in _FORMATS:
        size = np.dtype(kind).itemsize
        for offset in range(size):
            usable = (len(data) - offset) // size * size
            if usable < size * _RUN:
                continue
            with np.errstate(all="ignore"):
                numbers = np.frombuffer(data, kind, usable // size, offset).astype(np.float64)
                yield from _find_runs(numbers, wanted, kind)


def _find_runs(numbers: NDArray[np.float64], wanted: Needles, how: str) -> Iterable[str]:
    if len(numbers) < _RUN:
        return
    for name, run in wanted.vectors.items():
        starts = np.flatnonzero(np.abs(numbers[: 1 - _RUN] - run[0]) < _NEAR)
        for step in range(1, _RUN):
            starts = starts[np.abs(numbers[starts + step] - run[step]) < _NEAR]
        if len(starts):
            yield f"vector of {name} as {how}"


def _find_text(data: bytes, wanted: Needles) -> Iterable[str]:
    found = [float(number) for number in _NUMBER.findall(data) if len(number) < 40]
    with np.errstate(all="ignore"):
        yield from _find_runs(np.array(found), wanted, "text")


def _find_encoded(data: bytes, wanted: Needles) -> Iterable[str]:
    for run in _BASE64.findall(data):
        alike = run.replace(b"-", b"+").replace(b"_", b"/").rstrip(b"=")
        for skipped in range(4):  # the run may begin with letters that are not part of it
            text = alike[skipped:]
            try:
                decoded = base64.b64decode(text[: len(text) // 4 * 4])
            except binascii.Error:
                continue
            yield from (f"{name}, base64" for name in _find_decoded(decoded, wanted))
    for run in _HEX.findall(data):
        yield from (f"{name}, hexadecimal" for name in _find_decoded(bytes.fromhex(run.decode()), wanted))


def _find_decoded(data: bytes, wanted: Needles) -> Iterable[str]:
    yield from _find_plain(data, wanted)
    yield from _find_text(data, wanted)
