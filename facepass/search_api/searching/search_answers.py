"""The way from what a shard found to the bytes of the answer."""

import time

from pydantic_core import to_json

from facepass.schemas.faces import Box
from facepass.schemas.similarity import similarities_from_cosines
from facepass.search_api.searching.selfies import Query, SelfieWarning
from facepass.storage.shards import Match, ShardAnswer

FRESH_SECONDS = 10.0
"""An answer is complete only if the database was asked this recently what changed; it is asked every second."""


def search_answer(
    found: ShardAnswer,
    query: Query,
    *,
    threshold: float,
    operating_point: float,
    poll_age: float,
    begun: float,
) -> bytes:
    """The answer's JSON, a `SearchAnswer`. Not checked against it: all that it is made of was checked on its way
    in, and checking a thousand matches would hold the event loop for milliseconds.

    Args:
        query: what was searched with.
        threshold: least similarity asked for.
        operating_point: of the generation, for the similarity scale.
        poll_age: seconds since the last complete poll was sent.
        begun: `time.perf_counter()` when the upload was complete.
    """
    similarities = similarities_from_cosines((match.cosine for match in found.matches), operating_point)
    answer = {
        # the shard compared cosines; the way back may round to just below the threshold
        "matches": [
            _match(match, max(alike, threshold)) for match, alike in zip(found.matches, similarities, strict=True)
        ],
        "total_matches": found.total,
        "faces_in_selfie": query.faces,
        "warnings": [warning_body(warning) for warning in query.warnings],
        "freshness": _freshness(found, poll_age),
        "query_time_ms": round((time.perf_counter() - begun) * 1000, 2),
    }
    # a number that is none, of which no way in is known, becomes null: it is to cost no guest the other photos
    return to_json(answer, inf_nan_mode="null")


def _match(match: Match, similarity: float) -> dict[str, object]:
    return {
        "photo_id": match.photo_id,
        "similarity": similarity,
        "cosine": match.cosine,
        "confidence": match.confidence,
        "box": box_body(match.box),
    }


def warning_body(warning: SelfieWarning) -> dict[str, object]:
    """The fields of a `WarningBody`."""
    return {
        "code": warning.code,
        "message": warning.message,
        "selfie": warning.selfie,
        "box": warning.box and box_body(warning.box),
    }


def box_body(box: Box) -> dict[str, float]:
    """The fields of a `BoxBody`."""
    return {"x": box.x, "y": box.y, "width": box.width, "height": box.height}


def _freshness(found: ShardAnswer, poll_age: float) -> dict[str, object]:
    return {
        "revision": found.revision,
        "indexed_photos": found.photos,
        "pending": found.pending,
        "failed": found.failed,
        "poll_age_ms": round(poll_age * 1000),
        "complete": poll_age <= FRESH_SECONDS and found.pending == 0 and found.behind == 0,
        "behind": found.behind,
    }
