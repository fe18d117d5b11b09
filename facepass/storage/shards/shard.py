"""A shard: the faces of one session in memory, searched exactly.

A flat FAISS index holds the stored half-precision bits; beside it stands, for every face, which photo it is on.
Everything here is synchronous and safe to call from many threads.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import faiss
import numpy as np
from numpy.typing import NDArray

from facepass.schemas.faces import Box, Embedding
from facepass.schemas.ids import PhotoId
from facepass.schemas.similarity import cosine_from_similarity
from facepass.storage.shards.face_blocks import FACE_ROW, FaceBlock
from facepass.storage.shards.photo_ids import PhotoIds, photo_ids_of
from facepass.storage.shards.read_write_lock import ReadWriteLock

_FIRST_HITS = 100
_MORE_HITS = 8
"""Faces asked of FAISS at first, and by how much that grows while all of them reach the threshold. 100 cost no
more than one; going on costs a whole search each time, so it goes on in long steps."""

_SPARE = 1 / 16
"""Room left when an index must grow: C++ would double it."""

_SLACK = 1 / 8
"""Unused room at which an index is made smaller; above `_SPARE`, and below the 15 % that a face may cost more."""

_SLACK_FACES = 64
"""Faces' room that is never worth a copy."""


class Match(NamedTuple):
    """A photo that was found. A tuple because a search may make a thousand: it costs a third of a dataclass.

    Attributes:
        cosine: of its best face, -1 to 1.
        confidence: the detector's score of that face.
        box: of that face.
    """

    photo_id: PhotoId
    cosine: float
    confidence: float
    box: Box


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranking:
    """The findings of one search of a shard.

    Attributes:
        matches: best first, at most the limit; exact ties by photo id.
        total: photos that matched, before the limit.
        photos: photos in the shard.
        revision: of the shard when it was searched.
    """

    matches: Sequence[Match]
    total: int
    photos: int
    revision: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardAnswer:
    """The findings of one search of a session, and how fresh they are.

    Attributes:
        matches, total: as in `Ranking`.
        revision: of the session, that the answer rests on.
        behind: by how many revisions that is less than what is known to be there, or than what was asked for.
        photos: photos with at least one face, at that revision.
        pending, failed: photos without a result, as last read from the database.
    """

    matches: Sequence[Match]
    total: int
    revision: int
    behind: int
    photos: int
    pending: int
    failed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Delta:
    """The change that brings a shard from any revision in [since, revision) to `revision`.

    Attributes:
        photos: every photo that changed: all its faces are dropped. Ordinals in `blocks` are positions here.
        blocks: the faces that those photos have now. Applying takes them out.
    """

    since: int
    revision: int
    photos: PhotoIds
    blocks: list[FaceBlock]


class Shard:
    """The faces of one session at one revision. Begins empty, at `revision`."""

    def __init__(self, *, vector_size: int, operating_point: float, revision: int = 0) -> None:
        self._operating_point = operating_point
        self._lock = ReadWriteLock()
        self._index = _new_index(vector_size)
        self._room = 0
        self._rows = np.empty(0, FACE_ROW)
        self._photos = photo_ids_of(())
        self._revision = revision

    @property
    def revision(self) -> int:
        """The session's revision that the faces are of."""
        return self._revision

    @property
    def faces(self) -> int:
        """The number of faces."""
        return len(self._rows)

    @property
    def photos(self) -> int:
        """The number of photos with at least one face."""
        return len(self._photos)

    @property
    def nbytes(self) -> int:
        """Memory held for faces and photo ids."""
        return self._room * int(self._index.code_size) + self._rows.nbytes + self._photos.nbytes

    def search(
        self,
        query: Embedding,
        *,
        threshold: float,
        limit: int,
        hidden: Mapping[PhotoId, int] | None = None,
    ) -> Ranking:
        """Every photo that has a face at or above `threshold`.

        Args:
            query: shape (vector size,), L2 norm 1.
            threshold: a similarity, 0 to 1.
            hidden: photos to leave out while the shard is below the revision given with each.
        """
        least = cosine_from_similarity(threshold, self._operating_point)
        vector = np.ascontiguousarray(query, np.float32).reshape(1, -1)
        with self._lock.read():
            cosines, found = _faces_at_or_above(self._index, vector, least)
            if hidden:
                seen = ~np.isin(self._rows["photo"][found], self._hidden_ordinals(hidden))
                cosines, found = cosines[seen], found[seen]
            rows = self._rows[found]
            best = best_of_each_photo(cosines, rows)
            winners = best[:limit]
            return Ranking(
                matches=_matches(cosines[winners], rows[winners], self._photos),
                total=len(best),
                photos=len(self._photos),
                revision=self._revision,
            )

    def apply(self, delta: Delta) -> bool:
        """Bring the shard forward in place. False, and nothing changed, if `delta` does not fit its revision.

        If this raises, the shard is between two revisions and must be thrown away.
        """
        with self._lock.write():
            if not delta.since <= self._revision < delta.revision:
                return False
            self._drop(delta.photos)
            self._add(delta)
            self._revision = delta.revision
            return True

    def some_faces(self, start: int, count: int) -> tuple[int, PhotoIds, FaceBlock]:
        """The revision, the photo ids that ordinals mean, and copies of `count` faces from `start` on."""
        with self._lock.read():
            part = slice(start, start + count)
            codes = _codes(self._index)[part].copy()
            return self._revision, self._photos, FaceBlock(rows=self._rows[part].copy(), codes=codes)

    def _hidden_ordinals(self, hidden: Mapping[PhotoId, int]) -> list[int]:
        found = (self._photos.find(photo) for photo, until in hidden.items() if until > self._revision)
        return [ordinal for ordinal in found if ordinal is not None]

    def _drop(self, photos: PhotoIds) -> None:
        dropped = self._photos.ordinals_of(photos)
        if not len(dropped):
            return
        kept = np.ones(len(self._photos), np.bool_)
        kept[dropped] = False
        kept_rows = kept[self._rows["photo"]]
        bits = np.packbits(~kept_rows, bitorder="little")
        self._index.remove_ids(faiss.IDSelectorBitmap(len(bits), faiss.swig_ptr(bits)))
        self._rows = self._rows[kept_rows]
        self._rows["photo"] = (np.cumsum(kept) - 1)[self._rows["photo"]]
        self._photos = self._photos.keep(kept)

    def _add(self, delta: Delta) -> None:
        self._fit(self.faces + sum(len(block) for block in delta.blocks))
        present = np.zeros(len(delta.photos), np.bool_)
        for block in delta.blocks:
            present[block.rows["photo"]] = True
        self._photos, mine, theirs = self._photos.merge(delta.photos.keep(present))
        self._rows["photo"] = mine[self._rows["photo"]]
        ordinals = np.full(len(delta.photos), -1)
        ordinals[present] = theirs
        pieces = [self._rows]
        while delta.blocks:
            block = delta.blocks.pop(0)
            self._index.add_sa_codes(block.codes)
            pieces.append(block.rows)
            block.rows["photo"] = ordinals[block.rows["photo"]]
        self._rows = np.concatenate(pieces)

    def _fit(self, faces: int) -> None:
        """Give the index room for `faces`, and take back room it no longer needs."""
        unused = self._room - faces
        if 0 <= unused <= max(_SLACK_FACES, _SLACK * faces):
            return
        room = faces + int(_SPARE * faces) if self._index.ntotal else faces
        index = _new_index(self._index.d)
        index.codes.resize(room * index.code_size)
        index.codes.resize(0)
        if self._index.ntotal:
            index.add_sa_codes(_codes(self._index))
        self._index, self._room = index, room


def best_of_each_photo(cosines: NDArray[np.float32], rows: NDArray[np.void]) -> NDArray[np.int64]:
    """Positions of each photo's best face, best photo first.

    Args:
        cosines: shape (faces,).
        rows: shape (faces,), of FACE_ROW.

    Of photos that tie the lower ordinal goes first, of a photo's faces the one with the lower number counts.
    """
    order = np.lexsort((rows["face"], rows["photo"], -cosines))
    _, first = np.unique(rows["photo"][order], return_index=True)
    first.sort()
    best: NDArray[np.int64] = order[first]
    return best


def _faces_at_or_above(
    index: faiss.IndexScalarQuantizer, vector: NDArray[np.float32], least: float
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Clamped cosines and rows of all faces with a cosine of at least `least`, best first.

    `range_search` is no way to get them: many times slower here, and it leaves out the bound itself.
    """
    count = min(_FIRST_HITS, index.ntotal)
    while True:
        if not count:
            return np.empty(0, np.float32), np.empty(0, np.int64)
        cosines, rows = _search_in_this_thread(index, vector, count)
        np.clip(cosines, -1.0, 1.0, out=cosines)
        if cosines[-1] < least or count == index.ntotal:
            hits = count - int(np.searchsorted(cosines[::-1], least, side="left"))
            return cosines[:hits], rows[:hits]
        count = min(count * _MORE_HITS, index.ntotal)


def _search_in_this_thread(
    index: faiss.IndexScalarQuantizer, vector: NDArray[np.float32], count: int
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """OpenMP's number of threads belongs to the calling thread: set for the search, and put back."""
    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        cosines, rows = index.search(vector, count)
    finally:
        faiss.omp_set_num_threads(threads)
    return cosines[0], rows[0]


def _matches(cosines: NDArray[np.float32], rows: NDArray[np.void], photos: PhotoIds) -> list[Match]:
    """The winners as objects: the only Python made for each photo, so it is kept short."""
    boxes = map(Box._make, rows["box"].tolist())
    return list(map(Match, photos.take(rows["photo"]), cosines.tolist(), rows["confidence"].tolist(), boxes))


def _codes(index: faiss.IndexScalarQuantizer) -> NDArray[np.uint8]:
    """The index's codes, shape (faces, bytes of a face), where they lie."""
    flat: NDArray[np.uint8] = faiss.rev_swig_ptr(index.codes.data(), index.ntotal * index.code_size)
    return flat.reshape(index.ntotal, index.code_size)


def _new_index(vector_size: int) -> faiss.IndexScalarQuantizer:
    return faiss.IndexScalarQuantizer(vector_size, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT)
