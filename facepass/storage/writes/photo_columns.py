"""The outcomes of photos as PostgreSQL takes them: results as columns of a statement, faces as a binary COPY.

The format is that of https://www.postgresql.org/docs/current/sql-copy.html, and for `halfvec` that of pgvector's
`halfvec_recv`. All numbers big-endian; a column is its length and its bytes.
"""

import json
import struct
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from facepass.schemas.errors import ErrorCode, FacePassError
from facepass.schemas.faces import Face, LeftOutFace, PhotoFaces
from facepass.schemas.photo_events import PhotoOutcome
from facepass.storage.writes.photo_rules import LedgerRow

_HEADER = b"PGCOPY\n\xff\r\n\0" + struct.pack(">ii", 0, 0)
_TRAILER = struct.pack(">h", -1)
_COLUMNS = 18

_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
"""PostgreSQL counts microseconds from here."""

_NORM_TOLERANCE = 1e-3
"""Of an embedding's L2 norm; half precision alone stays well below."""

_FLOATS = struct.Struct(">" + "if" * 10)
"""Ten `real` columns: box (4), confidence, quality (5)."""

_LANDMARKS = struct.Struct(">iiiiii" + "if" * 10)
"""A `real[]` column of ten: length, dimensions, no NULL, element type 700, size, lower bound, elements."""

_STAMPS = struct.Struct(">iqiq")
"""occurred_at and revision."""

K = TypeVar("K")


def result_columns(rows: Mapping[K, LedgerRow], outcomes: Mapping[K, PhotoOutcome]) -> dict[str, Any]:
    """The columns of `rows`, in their order; `outcomes` of those that are no longer pending."""
    ordered = list(rows.values())
    results = [outcomes.get(key) for key in rows]
    return {
        "states": [row.state for row in ordered],
        "revisions": [row.revision for row in ordered],
        "stored": [row.faces_stored for row in ordered],
        "detected": [row.faces_detected for row in ordered],
        "confidences": [row.confidence for row in ordered],
        "errors": [row.error for row in ordered],
        "attempts": [row.attempts for row in ordered],
        "first_failures": [row.first_failed_at for row in ordered],
        "next_attempts": [row.next_attempt_at for row in ordered],
        "etags": [outcome and outcome.etag for outcome in results],
        "left_out": [_left_out_faces(outcome.found) if outcome else None for outcome in results],
    }


def encode_faces(generation: int, photos: Iterable[tuple[PhotoOutcome, int]]) -> bytes:
    """All faces of some outcomes, each outcome with its revision, as one binary COPY.

    Raises:
        FacePassError: `internal`: an embedding holds something else than finite numbers of L2 norm 1.
    """
    return b"".join((_HEADER, *_rows(generation, photos), _TRAILER))


def _rows(generation: int, photos: Iterable[tuple[PhotoOutcome, int]]) -> Iterator[bytes]:
    for outcome, revision in photos:
        if outcome.found is None or not outcome.found.faces:
            continue
        event = outcome.photo.event
        start = struct.pack(">hii", _COLUMNS, 4, generation) + _text(event.session_id) + _text(event.photo_id)
        microseconds = (event.occurred_at - _EPOCH) // timedelta(microseconds=1)
        end = _STAMPS.pack(8, microseconds, 8, revision)
        halves = _halves(outcome.found.faces)
        for index, face in enumerate(outcome.found.faces):
            yield b"".join(
                (
                    start,
                    struct.pack(">ih", 2, index),
                    _vector(halves[index]),
                    _numbers(face),
                    _landmarks(face),
                    end,
                )
            )


def _text(value: str) -> bytes:
    data = value.encode()
    return struct.pack(">i", len(data)) + data


def _halves(faces: tuple[Face, ...]) -> NDArray[np.float16]:
    """Shape (faces, vector size), big-endian half precision."""
    vectors = np.stack([face.embedding for face in faces])
    norms = np.linalg.norm(vectors, axis=1)
    if not np.all(np.abs(norms - 1.0) <= _NORM_TOLERANCE):  # also false for NaN
        raise FacePassError(ErrorCode.INTERNAL, "an embedding is not normalised")
    return vectors.astype(">f2")


def _vector(half: NDArray[np.float16]) -> bytes:
    data = half.tobytes()
    return struct.pack(">ihh", len(data) + 4, half.size, 0) + data


def _numbers(face: Face) -> bytes:
    box, quality = face.box, face.quality
    values = (
        *(box.x, box.y, box.width, box.height, face.confidence),
        *(quality.size, quality.sharpness, quality.yaw, quality.pitch, quality.roll),
    )
    return _FLOATS.pack(*(part for value in values for part in (4, value)))


def _landmarks(face: Face) -> bytes:
    values = face.landmarks.reshape(10).tolist()
    return _LANDMARKS.pack(
        _LANDMARKS.size - 4, 1, 0, 700, 10, 1, *(part for value in values for part in (4, value))
    )


def _left_out_faces(found: PhotoFaces | None) -> str | None:
    """The faces that the quality gate left out, as JSON; None if there are none."""
    if found is None or not found.left_out:
        return None
    return json.dumps([_left_out(face) for face in found.left_out])


def _left_out(face: LeftOutFace) -> dict[str, object]:
    box = face.box
    return {
        "box": [float(value) for value in (box.x, box.y, box.width, box.height)],
        "confidence": float(face.confidence),
        "reason": str(face.reason),
    }
