"""The scale on which matches are shown, equal for every model."""

from collections.abc import Iterable

DEFAULT_THRESHOLD = 0.7
"""The similarity of a model's operating point, and the API's documented default."""


def similarity_from_cosine(cosine: float, operating_point: float) -> float:
    """Map a cosine to a similarity: -1 to 0, the operating point to 0.7, 1 to 1, linear between.

    Strictly increasing, so it never changes the order of matches. `cosine` is clamped to [-1, 1] first.
    """
    cosine = min(1.0, max(-1.0, cosine))
    if cosine <= operating_point:
        return DEFAULT_THRESHOLD * (cosine + 1.0) / (operating_point + 1.0)
    return DEFAULT_THRESHOLD + (1.0 - DEFAULT_THRESHOLD) * (cosine - operating_point) / (1.0 - operating_point)


def similarities_from_cosines(cosines: Iterable[float], operating_point: float) -> list[float]:
    """The same for many."""
    return [similarity_from_cosine(cosine, operating_point) for cosine in cosines]


def cosine_from_similarity(similarity: float, operating_point: float) -> float:
    """The inverse of `similarity_from_cosine`, for similarities from 0 to 1."""
    if similarity <= DEFAULT_THRESHOLD:
        return similarity / DEFAULT_THRESHOLD * (operating_point + 1.0) - 1.0
    share = (similarity - DEFAULT_THRESHOLD) / (1.0 - DEFAULT_THRESHOLD)
    return operating_point + share * (1.0 - operating_point)
