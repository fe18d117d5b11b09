"""The answer of a search: when it calls itself complete, and what it says of its age."""

import json
import time

import pytest

from facepass.search_api.answers import FRESH_SECONDS, search_answer
from facepass.storage.shard import ShardAnswer


def freshness(*, poll_age: float = 0.4, pending: int = 0, failed: int = 0, behind: int = 0) -> dict[str, object]:
    found = ShardAnswer(matches=(), total=0, revision=7, behind=behind, photos=3, pending=pending, failed=failed)
    begun = time.perf_counter()
    answer = search_answer(
        found, threshold=0.7, operating_point=0.36, faces_in_selfie=1, poll_age=poll_age, begun=begun
    )
    return json.loads(answer)["freshness"]


def test_freshness_is_what_the_shard_and_the_poll_say() -> None:
    assert freshness(failed=2) == {
        "revision": 7,
        "indexed_photos": 3,
        "pending": 0,
        "failed": 2,
        "poll_age_ms": 400,
        "complete": True,
        "behind": 0,
    }


@pytest.mark.parametrize(
    "state", [{"pending": 1}, {"behind": 1}, {"poll_age": FRESH_SECONDS + 0.001}], ids=["pending", "behind", "old"]
)
def test_an_answer_that_may_miss_something_is_not_complete(state: dict[str, float]) -> None:
    assert freshness(**state)["complete"] is False


def test_what_was_learnt_within_ten_seconds_is_fresh() -> None:
    assert freshness(poll_age=FRESH_SECONDS)["complete"] is True
