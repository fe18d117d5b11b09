"""From several selfies to one query: who is left out, who weighs how much, and what is said of each."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from facepass.schemas.errors import ErrorCode, PermanentError
from facepass.schemas.faces import Box, FoundFace, Quality, SelfieFace, SelfieFaces
from facepass.schemas.http.search_bodies import WarningCode
from facepass.search_api.searching.selfies import query_of, weight

OPERATING_POINT = 0.36
BOX = Box(x=10.0, y=20.0, width=200.0, height=240.0)
QUALITY = Quality(size=200.0, sharpness=500.0, yaw=0.0, pitch=0.0, roll=0.0)


def towards(*parts: float) -> np.ndarray:
    vector = np.array(parts + (0.0,) * (4 - len(parts)), np.float32)
    return vector / np.linalg.norm(vector)


def face(embedding: np.ndarray, *, brightness: float = 120.0, detail: float = 0.1, **quality: float) -> SelfieFace:
    values = {name: getattr(QUALITY, name) for name in ("size", "sharpness", "yaw", "pitch", "roll")} | quality
    return SelfieFace(
        box=BOX,
        confidence=0.95,
        quality=Quality(**values),
        brightness=brightness,
        detail=detail,
        embedding=embedding,
    )


def selfie(largest: SelfieFace | None, others: int = 0) -> SelfieFaces:
    other = FoundFace(box=BOX, confidence=0.9)
    return SelfieFaces(width=600, height=800, largest=largest, others=(other,) * others)


ME = towards(1, 0.2)
ALSO_ME = towards(1, -0.2)
OTHER = towards(0, 0, 1)
THIRD = towards(0, 0, 0, 1)


def warned(*selfies: SelfieFaces) -> list[tuple[int, WarningCode]]:
    return [(warning.selfie, warning.code) for warning in query_of(selfies, OPERATING_POINT).warnings]


def test_one_good_selfie_is_its_own_query_without_a_word() -> None:
    query = query_of([selfie(face(ME))], OPERATING_POINT)
    assert query.embedding == pytest.approx(ME)
    assert (query.faces, query.warnings) == (1, ())


def test_several_selfies_are_averaged() -> None:
    query = query_of([selfie(face(ME)), selfie(face(ALSO_ME))], OPERATING_POINT)
    assert query.embedding == pytest.approx(towards(1), abs=1e-6)
    assert query.warnings == ()


def test_a_better_selfie_weighs_more() -> None:
    blurred = face(ALSO_ME, detail=0.006)
    query = query_of([selfie(face(ME)), selfie(blurred)], OPERATING_POINT)
    assert float(query.embedding @ ME) > float(query.embedding @ ALSO_ME)
    for worse in ({"size": 20.0}, {"detail": 0.001}, {"brightness": 10.0}):
        assert 0 < weight(face(ME, **worse)) < weight(face(ME)) == 1


@given(
    vectors=st.lists(st.lists(st.floats(-1, 1, width=32), min_size=4, max_size=4), min_size=1, max_size=5),
    details=st.lists(st.floats(0, 0.1), min_size=5, max_size=5),
)
def test_every_query_has_norm_one(vectors: list[list[float]], details: list[float]) -> None:
    faces = [
        face(towards(*vector), detail=detail)
        for vector, detail in zip(vectors, details, strict=False)
        if np.linalg.norm(vector) > 0.1
    ]
    if faces:
        query = query_of([selfie(one) for one in faces], OPERATING_POINT)
        assert abs(float(np.linalg.norm(query.embedding.astype(np.float64))) - 1) < 1e-5
        assert query.embedding.dtype == np.float32


@pytest.mark.parametrize("place", range(3))
def test_somebody_elses_selfie_is_left_out_and_named(place: int) -> None:
    selfies = [selfie(face(ME)), selfie(face(ALSO_ME))]
    selfies.insert(place, selfie(face(OTHER), others=3))
    query = query_of(selfies, OPERATING_POINT)
    assert query.embedding == pytest.approx(towards(1), abs=1e-6)
    assert [(warning.selfie, warning.code, warning.box) for warning in query.warnings] == [
        (place, WarningCode.OUTLIER, BOX)
    ]
    assert query.faces == 1  # of those that were used


def test_of_two_that_disagree_the_better_one_is_used() -> None:
    dark = selfie(face(OTHER, brightness=20.0))
    for number, selfies in enumerate([[dark, selfie(face(ME))], [selfie(face(ME)), dark]]):
        query = query_of(selfies, OPERATING_POINT)
        assert query.embedding == pytest.approx(ME)
        assert [(warning.selfie, warning.code) for warning in query.warnings] == [(number, WarningCode.OUTLIER)]


def test_of_two_pairs_the_better_one_is_used() -> None:
    small = [selfie(face(OTHER, size=30.0)), selfie(face(towards(0, 0.1, 1), size=30.0))]
    mine = [selfie(face(ME)), selfie(face(ALSO_ME))]
    assert query_of([*small, *mine], OPERATING_POINT).embedding == pytest.approx(towards(1), abs=1e-6)
    assert warned(*small, *mine) == [(0, WarningCode.OUTLIER), (1, WarningCode.OUTLIER)]


def test_more_selfies_count_more_than_one_better() -> None:
    small = [selfie(face(ME, size=45.0)), selfie(face(ALSO_ME, size=45.0))]
    assert warned(selfie(face(OTHER)), *small) == [(0, WarningCode.OUTLIER)]


def test_selfies_without_a_face_are_left_out_unless_none_has_one() -> None:
    query = query_of([selfie(None), selfie(face(ME)), selfie(None)], OPERATING_POINT)
    assert query.embedding == pytest.approx(ME)
    assert [(warning.selfie, warning.code, warning.box) for warning in query.warnings] == [
        (0, WarningCode.NO_FACE, None),
        (2, WarningCode.NO_FACE, None),
    ]
    for none in ([selfie(None)], [selfie(None)] * 5):
        with pytest.raises(PermanentError) as caught:
            query_of(none, OPERATING_POINT)
        assert caught.value.code is ErrorCode.NO_FACE


@pytest.mark.parametrize(
    ("code", "values"),
    [
        (WarningCode.TOO_SMALL, {"size": 39.9}),
        (WarningCode.BLURRED, {"detail": 0.0049}),
        (WarningCode.TOO_DARK, {"brightness": 29.9}),
        (WarningCode.TURNED_AWAY, {"yaw": -40.1}),
        (WarningCode.TURNED_AWAY, {"yaw": 40.1}),
        (WarningCode.TURNED_AWAY, {"pitch": -35.1}),
        (WarningCode.TURNED_AWAY, {"pitch": 35.1}),
    ],
)
def test_each_fault_has_its_warning_with_the_face(code: WarningCode, values: dict[str, float]) -> None:
    query = query_of([selfie(face(ME)), selfie(face(ME, **values))], OPERATING_POINT)
    (warning,) = query.warnings
    assert (warning.code, warning.selfie, warning.box) == (code, 1, BOX)
    assert warning.message


def test_several_faces_are_named_and_counted() -> None:
    query = query_of([selfie(face(ME), others=2)], OPERATING_POINT)
    assert [warning.code for warning in query.warnings] == [WarningCode.SEVERAL_FACES]
    assert query.faces == 3


def test_one_selfie_may_have_several_faults() -> None:
    assert {code for _, code in warned(selfie(face(ME, size=20.0, brightness=10.0, yaw=60.0), others=1))} == {
        WarningCode.SEVERAL_FACES,
        WarningCode.TOO_SMALL,
        WarningCode.TOO_DARK,
        WarningCode.TURNED_AWAY,
    }
