"""The scale of similarities."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facepass.schemas.similarity import DEFAULT_THRESHOLD, cosine_from_similarity, similarity_from_cosine

points = st.floats(0.05, 0.9)


@pytest.mark.parametrize(
    ("cosine", "similarity"), [(-1.0, 0.0), (0.36, 0.7), (1.0, 1.0), (1.0001, 1.0), (-1.1, 0.0)]
)
def test_the_three_points_of_the_map_and_its_clamp(cosine: float, similarity: float) -> None:
    assert similarity_from_cosine(cosine, 0.36) == pytest.approx(similarity, abs=1e-12)


@given(a=st.floats(-1, 1), b=st.floats(-1, 1), point=points)
def test_the_map_never_changes_the_order(a: float, b: float, point: float) -> None:
    if a < b:
        assert similarity_from_cosine(a, point) <= similarity_from_cosine(b, point)


@given(similarity=st.floats(0, 1), point=points)
def test_a_threshold_means_the_same_on_both_scales(similarity: float, point: float) -> None:
    there_and_back = similarity_from_cosine(cosine_from_similarity(similarity, point), point)
    assert there_and_back == pytest.approx(similarity, abs=1e-9)


def test_the_default_threshold_is_the_operating_point() -> None:
    assert cosine_from_similarity(DEFAULT_THRESHOLD, 0.36) == pytest.approx(0.36)
