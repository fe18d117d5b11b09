"""The photo ids of a shard: sorted, distinct, in one buffer.

A Python string of 36 characters costs 85 bytes and a pointer, and a dictionary to find it as much again; a shard
may hold no more than 64 bytes a face beside the vector.
"""

from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from facepass.schemas.ids import PhotoId

_END = b"\x00"
"""Ends every id in the buffer. No id holds a NUL, and it sorts before every other byte, so the ids and their
buffers sort alike: by UTF-8 bytes, as in PostgreSQL's collation "C" and as Python's strings."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PhotoIds:
    """Sorted distinct ids; the position of an id is the photo's ordinal, so ordinals sort as ids do.

    Attributes:
        text: the ids in UTF-8, each ended by NUL.
        starts: shape (ids + 1,), where each begins; the last is the length of `text`.
    """

    text: bytes
    starts: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.starts) - 1

    @property
    def nbytes(self) -> int:
        """The bytes that the ids and their places take."""
        return len(self.text) + self.starts.nbytes

    def take(self, ordinals: NDArray[np.int32]) -> list[PhotoId]:
        """The ids of many ordinals."""
        places = zip(self.starts[ordinals].tolist(), (self.starts[ordinals + 1] - 1).tolist(), strict=True)
        return [PhotoId(self.text[start:end].decode()) for start, end in places]

    def find(self, photo_id: PhotoId) -> int | None:
        """The ordinal of an id, None if it is not there."""
        key = photo_id.encode()
        ordinal = self._insertion(key)
        return ordinal if ordinal < len(self) and self._key(ordinal) == key else None

    def keep(self, mask: NDArray[np.bool_]) -> "PhotoIds":
        """The ids where `mask` (shape (ids,)) is true."""
        if mask.all():
            return self
        lengths = np.diff(self.starts)
        text = np.frombuffer(self.text, np.uint8)[np.repeat(mask, lengths)].tobytes()
        return PhotoIds(text=text, starts=_starts(lengths[mask]))

    def ordinals_of(self, others: "PhotoIds") -> NDArray[np.int64]:
        """The ordinals of those of `others` that are there, ascending."""
        keys = others.keys()
        places = map(self._insertion, keys)
        return np.array(
            [i for i, key in zip(places, keys, strict=True) if i < len(self) and self._key(i) == key], np.int64
        )

    def merge(self, others: "PhotoIds") -> "tuple[PhotoIds, NDArray[np.int64], NDArray[np.int64]]":
        """Take in ids none of which is there yet.

        Returns: all ids, the new ordinals of those of `self`, the new ordinals of `others`.
        """
        if not len(self):
            return others, np.arange(0), np.arange(len(others))
        keys = others.keys()
        places = np.array([self._insertion(key) for key in keys], np.int64)
        mine = np.arange(len(self)) + np.searchsorted(places, np.arange(len(self)), side="right")
        theirs = places + np.arange(len(others))
        pieces, done = [], 0
        for place, key in zip(self.starts[places].tolist(), keys, strict=True):
            pieces += [self.text[done:place], key, _END]
            done = place
        lengths = np.empty(len(self) + len(others), dtype=np.int64)
        lengths[mine] = np.diff(self.starts)
        lengths[theirs] = np.diff(others.starts)
        text = b"".join([*pieces, self.text[done:]])
        return PhotoIds(text=text, starts=_starts(lengths)), mine, theirs

    def keys(self) -> list[bytes]:
        """The ids in UTF-8."""
        return self.text.split(_END)[:-1]

    def _key(self, ordinal: int) -> bytes:
        return self.text[self.starts[ordinal] : self.starts[ordinal + 1] - 1]

    def _insertion(self, key: bytes) -> int:
        return bisect_left(range(len(self)), key, key=self._key)


def _starts(lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.concatenate(([0], np.cumsum(lengths)))


def photo_ids_from_text(text: bytes) -> PhotoIds:
    """The ids in a buffer, sorted, distinct, in UTF-8, each ended by NUL; the buffer is taken over."""
    ends = np.flatnonzero(np.frombuffer(text, np.uint8) == 0)
    return PhotoIds(text=text, starts=np.concatenate(([0], ends + 1)))


def photo_ids_of(ids: Iterable[str]) -> PhotoIds:
    """Sort and pack ids, dropping those given twice."""
    return photo_ids_from_text(b"".join(key + _END for key in sorted({i.encode() for i in ids})))
