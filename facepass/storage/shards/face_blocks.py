"""Faces as a shard holds them, and as PostgreSQL's binary COPY delivers them."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from psycopg.abc import Buffer

FACE_ROW = np.dtype(
    [("photo", np.int32), ("face", np.int16), ("confidence", np.float32), ("box", np.float32, (4,))]
)
"""What a shard knows of a face beside its vector: the photo's ordinal, which of the photo's faces it is, the
detector's score, the box as (x, y, width, height) in pixels. 26 bytes."""

_HEADER = b"PGCOPY\n\xff\r\n\x00" + bytes(8)
"""Signature, no flags, no extension."""

COPY_HEADER_BYTES = len(_HEADER)

COPY_TRAILER_BYTES = 2
"""After the last row, in a message of its own; every row is longer."""

_FLOAT32_COLUMNS = ("confidence", "x", "y", "width", "height")
_COLUMNS = 2 + len(_FLOAT32_COLUMNS) + 1


@dataclass(frozen=True, slots=True, kw_only=True)
class FaceBlock:
    """A block of faces.

    Attributes:
        rows: shape (faces,), of FACE_ROW.
        codes: shape (faces, 2 * vector size), uint8: the half-precision floats, little-endian.
    """

    rows: NDArray[np.void]
    codes: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.rows)


def copy_row(vector_size: int) -> np.dtype[np.void]:
    """The layout of one row of the statement `faces` in a binary COPY: every field big-endian, each value after
    its length in bytes, the halfvec after its own size and two unused bytes."""
    fields: list[tuple[str, str] | tuple[str, str, tuple[int]]] = [("fields", ">i2")]
    fields += [("photo_length", ">i4"), ("photo", ">i8"), ("face_length", ">i4"), ("face", ">i2")]
    for name in _FLOAT32_COLUMNS:
        fields += [(f"{name}_length", ">i4"), (name, ">f4")]
    fields += [("embedding_length", ">i4"), ("size", ">i2"), ("unused", ">i2"), ("halves", ">u2", (vector_size,))]
    return np.dtype(fields)


def check_copy_header(data: Buffer) -> None:
    """Raise ValueError unless `data` begins as a binary COPY does."""
    if bytes(data[:COPY_HEADER_BYTES]) != _HEADER:
        raise ValueError("not a binary COPY of a known kind")


@dataclass(frozen=True, slots=True)
class PhotoHashes:
    """A finder of photos by the hashes of their ids.

    Attributes:
        ordered: shape (photos,), the hashes, ascending.
        ordinals: shape (photos,), whose each is.
    """

    ordered: NDArray[np.int64]
    ordinals: NDArray[np.int64]

    @property
    def distinct(self) -> bool:
        """True if no two photos have the same hash: only then they can be told apart."""
        return bool((self.ordered[1:] != self.ordered[:-1]).all())

    def find(self, hashes: NDArray[np.int64]) -> NDArray[np.int64]:
        """The photos' ordinals.

        Raises:
            ValueError: a hash is none of theirs.
        """
        places = np.searchsorted(self.ordered, hashes)
        if len(hashes) and (places.max() == len(self.ordered) or (self.ordered[places] != hashes).any()):
            raise ValueError("a face belongs to a photo that was not read")
        return self.ordinals[places]


def photo_hashes(data: bytes) -> PhotoHashes:
    """The finder for `data`: the hashes of the photos in their order, 8 bytes each, big-endian."""
    hashes = np.frombuffer(data, ">i8").astype(np.int64)
    ordinals = np.argsort(hashes)
    return PhotoHashes(hashes[ordinals], ordinals)


def decode_faces(data: bytes, vector_size: int, photos: PhotoHashes) -> FaceBlock:
    """The faces in rows of the statement `faces`, without header and trailer.

    Raises:
        ValueError: the rows are not laid out as `copy_row` says, or are of other photos.
    """
    raw = np.frombuffer(data, copy_row(vector_size))
    if len(raw) and not (
        (raw["fields"] == _COLUMNS).all()
        and (raw["size"] == vector_size).all()
        and (raw["embedding_length"] == 2 * vector_size + 4).all()
    ):
        raise ValueError("a row of a binary COPY is not laid out as expected")
    rows = np.empty(len(raw), FACE_ROW)
    rows["photo"] = photos.find(raw["photo"].astype(np.int64))
    rows["face"] = raw["face"]
    rows["confidence"] = raw["confidence"]
    for column, name in enumerate(_FLOAT32_COLUMNS[1:]):
        rows["box"][:, column] = raw[name]
    return FaceBlock(rows=rows, codes=raw["halves"].astype("<u2").view(np.uint8))
