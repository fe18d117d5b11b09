"""The real contents of a shard, as a digest that the database can compute from its rows, too.

Each face is hashed by SHA-256 over the same bytes on both sides; two halves of the hashes are summed up modulo
2**64, so the order plays no part and no vector leaves its place. The statement `contents` of verify.sql is the
other side.
"""

from hashlib import sha256

import numpy as np
from numpy.typing import NDArray

from facepass.schemas.http.control_bodies import ShardContents
from facepass.schemas.ids import SessionId
from facepass.storage.reads import digest_text
from facepass.storage.shards.face_blocks import FaceBlock
from facepass.storage.shards.photo_ids import PhotoIds
from facepass.storage.shards.shard import Shard

_CHUNK_FACES = 2048
"""Faces taken under the lock at once: a delta, and the searches behind it, wait for a copy of 2 MB at most."""

_ATTEMPTS = 5
"""A shard that changes between two chunks is begun anew, this often at most."""

_END = b"\x00"
"""Between the photo's id, which holds no NUL, and the rest."""


def shard_contents(session_id: SessionId, shard: Shard) -> ShardContents | None:
    """All that a shard holds, hashed; None if it changed again and again meanwhile. Takes about 3 µs a face."""
    for _ in range(_ATTEMPTS):
        contents = _contents(session_id, shard)
        if contents is not None:
            return contents
    return None


def _contents(session_id: SessionId, shard: Shard) -> ShardContents | None:
    revision, photos, block = shard.some_faces(0, _CHUNK_FACES)
    sums, faces = hash_faces(photos, block), len(block)
    while len(block) == _CHUNK_FACES:
        now, _, block = shard.some_faces(faces, _CHUNK_FACES)
        if now != revision:
            return None
        sums = sums + hash_faces(photos, block)
        faces += len(block)
    return ShardContents(
        session_id=session_id,
        revision=revision,
        faces=faces,
        photos=len(photos),
        digest=digest_text(*sums.tolist()),
    )


def hash_faces(photos: PhotoIds, block: FaceBlock) -> NDArray[np.uint64]:
    """The two sums over some faces, modulo 2**64. Shape (2,)."""
    if not len(block):
        return np.zeros(2, np.uint64)
    size = block.codes.shape[1] // 2
    # as PostgreSQL's and pgvector's send functions write them: big-endian, the halfvec after its size
    fields: list[tuple[str, str] | tuple[str, str, tuple[int]]] = [("face", ">i2"), ("confidence", ">f4")]
    fields += [("box", ">f4", (4,)), ("size", ">i2"), ("unused", ">i2"), ("halves", ">u2", (size,))]
    records = np.zeros(len(block), np.dtype(fields))
    for name in ("face", "confidence", "box"):
        records[name] = block.rows[name]
    records["size"] = size
    records["halves"] = block.codes.view("<u2")
    width, data = records.itemsize, records.tobytes()
    hashes = b"".join(
        sha256(key.encode() + _END + data[place * width : (place + 1) * width]).digest()
        for place, key in enumerate(photos.take(block.rows["photo"]))
    )
    sums: NDArray[np.uint64] = np.frombuffer(hashes, ">u8").reshape(-1, 4)[:, :2].sum(axis=0, dtype=np.uint64)
    return sums
