"""The answer of a search: when it calls itself complete, and what it says of its age."""

import json
import time

import numpy as np
import pytest

from facepass.schemas.faces import Box
from facepass.schemas.http.search_bodies import WarningCode
from facepass.search_api.searching.search_answers import FRESH_SECONDS, search_answer
from facepass.search_api.searching.selfies import Query, SelfieWarning
from facepass.storage.shards.shard import ShardAnswer


def freshness(*, poll_age: float = 0.4, pending: int = 0, failed: int = 0, behind: int = 0) -> dict[str, object]:
    found = ShardAnswer(matches=(), total=0, revision=7, behind=behind, photos=3, pending=pending, failed=failed)
    begun = time.perf_counter()
    query = Query(embedding=np.zeros(0, np.float32), faces=1, warnings=())
    answer = search_answer(found, query, threshold=0.7, operating_point=0.36, poll_age=poll_age, begun=begun)
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


def test_warnings_are_told_with_their_selfie_and_box() -> None:
    found = ShardAnswer(matches=(), total=0, revision=7, behind=0, photos=3, pending=0, failed=0)
    box = Box(x=1.0, y=2.0, width=30.0, height=40.0)
    warnings = (
        SelfieWarning(code=WarningCode.TOO_SMALL, selfie=0, message="come closer", box=box),
        SelfieWarning(code=WarningCode.NO_FACE, selfie=1, message="take another", box=None),
    )
    query = Query(embedding=np.zeros(0, np.float32), faces=2, warnings=warnings)
    answer = json.loads(
        search_answer(found, query, threshold=0.7, operating_point=0.36, poll_age=0.1, begun=time.perf_counter())
    )
    assert answer["faces_in_selfie"] == 2
    shown = {"x": 1.0, "y": 2.0, "width": 30.0, "height": 40.0}
    assert answer["warnings"] == [
        {"code": "too_small", "message": "come closer", "selfie": 0, "box": shown},
        {"code": "no_face", "message": "take another", "selfie": 1, "box": None},
    ]
