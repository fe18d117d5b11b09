"""Rows of PostgreSQL's binary COPY: only what is laid out as expected is taken for faces."""

import struct

import numpy as np
import pytest

from facepass.storage.shards.face_blocks import (
    COPY_HEADER_BYTES,
    check_copy_header,
    copy_row,
    decode_faces,
    photo_hashes,
)

PHOTOS = photo_hashes(struct.pack(">qqq", 9, -7, 5))
"""Hashes of the photos 0, 1 and 2."""

HEADER = b"PGCOPY\n\xff\r\n\x00" + bytes(8)


def row(photo: int, face: int, numbers: tuple[float, ...], embedding: list[float]) -> bytes:
    data = struct.pack(">hiqih", 8, 8, photo, 2, face)
    data += b"".join(struct.pack(">if", 4, number) for number in numbers)
    halves = struct.pack(f">{len(embedding)}e", *embedding)
    return data + struct.pack(">ihh", 4 + len(halves), len(embedding), 0) + halves


def test_rows_become_arrays_with_the_stored_bits() -> None:
    rows = [row(5, 0, (0.5, 1, -2, 3, 4), [1.0, -0.5, 0.0001]), row(-7, 3, (0.25, 5, 6, 7, 8), [0.0, 2.0, -0.0])]
    assert all(len(one) == copy_row(3).itemsize for one in rows)
    block = decode_faces(b"".join(rows), 3, PHOTOS)
    assert block.rows[["photo", "face", "confidence"]].tolist() == [(2, 0, 0.5), (1, 3, 0.25)]
    assert block.rows["box"].tolist() == [[1, -2, 3, 4], [5, 6, 7, 8]]
    expected = np.array([[1.0, -0.5, 0.0001], [0.0, 2.0, -0.0]], "<f2")
    assert block.codes.tobytes() == expected.tobytes()
    assert len(decode_faces(b"", 3, photo_hashes(b""))) == 0


def test_rows_of_another_size_are_refused() -> None:
    numbers = (0.0, 0.0, 0.0, 0.0, 0.0)
    for data in (row(9, 0, numbers, [1.0] * 4), row(9, 0, numbers, [1.0] * 3)[:-1]):
        with pytest.raises(ValueError, match="buffer size"):
            decode_faces(data, 3, PHOTOS)


def test_rows_of_another_layout_are_refused() -> None:
    data = bytearray(row(9, 0, (0, 0, 0, 0, 0), [1.0] * 3))
    data[1] = 9
    with pytest.raises(ValueError, match="laid out"):
        decode_faces(bytes(data), 3, PHOTOS)


@pytest.mark.parametrize("data", [b"", HEADER.replace(b"PG", b"XX"), HEADER[:-1] + b"\x01", HEADER[:11]])
def test_another_header_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="COPY"):
        check_copy_header(data)
    check_copy_header(HEADER)
    assert len(HEADER) == COPY_HEADER_BYTES


@pytest.mark.parametrize("other", [-8, 0, 10])
def test_a_face_of_a_photo_that_was_not_read_is_refused(other: int) -> None:
    with pytest.raises(ValueError, match="not read"):
        decode_faces(row(other, 0, (0, 0, 0, 0, 0), [1.0] * 3), 3, PHOTOS)


def test_hashes_that_are_alike_are_noticed() -> None:
    assert PHOTOS.distinct
    assert photo_hashes(b"").distinct
    assert not photo_hashes(struct.pack(">qqq", 5, 9, 5)).distinct
