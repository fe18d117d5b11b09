"""The way from the faces of one to five selfies of one person to one query, with what the guest could do better.

Only a selfie without a face cannot be searched with; all else is a warning. The bounds are set where a selfie
begins to find clearly less. Measured with the 20 single-person photos of the labelled set, cut out and made worse,
against other photos of the same person, starter pack; mean cosine unharmed 0.75, operating point 0.36. On the 20
unharmed photos no warning fires.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np

from facepass.schemas.errors import ErrorCode, PermanentError
from facepass.schemas.faces import Box, Embedding, SelfieFace, SelfieFaces
from facepass.schemas.http.search_bodies import WarningCode

SMALL_FACE = 40.0
"""Shorter side of the face, pixels. Mean cosine 0.74 at 50 pixels, 0.72 at 40, 0.69 at 30, 0.58 at 20; the
smallest of the unharmed faces has 54."""

LITTLE_DETAIL = 0.005
"""Of `SelfieFace.detail`. Unharmed at least 0.046, reduced to 60 pixels 0.015, to 40 0.006. Of 150 pixels and out
of focus (sigma 3) half of them fall below at a mean cosine of 0.71, with sigma 4 nearly all at 0.66; moved by 11
pixels a third at 0.69, by 15 more than half at 0.64."""

DARK_FACE = 30.0
"""Mean grey level. In a quarter of the light a third of them fall below at a mean cosine of 0.70, in a tenth all
at 0.63. Kept low: half of the light is still good (0.73), and dark skin in good light must not be told that it is
dark. The darkest of the unharmed faces has 100."""

TURNED_YAW, TURNED_PITCH = 40.0, 35.0
"""Degrees to either side, by the landmarks. Unharmed at most 22 and 13. No labelled photo shows a profile, so this
is not measured but what networks of this kind are known for: they lose little up to 45 degrees."""

_FULL_SIZE, _FULL_DETAIL, _FULL_LIGHT = 60.0, 0.02, 50.0
"""From these on a face weighs no more for being larger, sharper or brighter."""
_LEAST_SHARE = 0.01
"""So that no face weighs nothing: it may be the only one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SelfieWarning:
    """A hint at what could be better about one selfie.

    Attributes:
        selfie: its place among those sent, from 0.
        message: what to do, for people.
        box: the face that it is about, in the selfie at full size; None: there is none.
    """

    code: WarningCode
    selfie: int
    message: str
    box: Box | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """The face to search with.

    Attributes:
        embedding: L2 norm 1 within 1e-5.
        faces: found in the selfie that was used; in that with the most, if several were.
        warnings: by selfie.
    """

    embedding: Embedding
    faces: int
    warnings: tuple[SelfieWarning, ...]


def query_of(selfies: Sequence[SelfieFaces], operating_point: float) -> Query:
    """Fuse the largest faces of some selfies of one person.

    A selfie without a face is left out with a warning, and so is one of somebody else: of the faces, those that
    reach the operating point with one of them are used, with the one for which they are the most, and weigh the
    most. Where two selfies disagree, the better one is used alone.

    Args:
        selfies: at least one.
        operating_point: the cosine from which two faces count as one person's.

    Raises:
        PermanentError: `no_face`: none of the selfies has one.
    """
    faces = {number: selfie.largest for number, selfie in enumerate(selfies) if selfie.largest is not None}
    if not faces:
        raise PermanentError(
            ErrorCode.NO_FACE, "no face was found in the selfie; take another one, frontal and well lit"
        )
    used = _of_one_person(faces, operating_point)
    warnings = chain.from_iterable(
        _warnings(number, selfie, used=number in used) for number, selfie in enumerate(selfies)
    )
    return Query(
        embedding=_fused([faces[number] for number in used]),
        faces=max(selfies[number].detected for number in used),
        warnings=tuple(warnings),
    )


def weight(face: SelfieFace) -> float:
    """The weight of a face among others of the same person, above 0 and at most 1.

    Measured as above, one unharmed photo fused with another made worse: mean cosine 0.73 where that was blurred
    beyond use (0.70 unweighted; 0.72 the unharmed one alone), 0.77 for two unharmed ones.
    """
    shares = (face.quality.size / _FULL_SIZE, face.detail / _FULL_DETAIL, face.brightness / _FULL_LIGHT)
    return math.sqrt(math.prod(min(max(share, _LEAST_SHARE), 1.0) for share in shares))


def _of_one_person(faces: dict[int, SelfieFace], operating_point: float) -> list[int]:
    """The places of the selfies to use."""
    numbers = list(faces)
    if len(numbers) == 1:  # nearly every search
        return numbers
    vectors = np.stack([faces[number].embedding for number in numbers]).astype(np.float64)
    alike = vectors @ vectors.T >= operating_point
    np.fill_diagonal(alike, val=True)
    weights = np.array([weight(faces[number]) for number in numbers])
    best = max(range(len(numbers)), key=lambda row: (int(alike[row].sum()), float(weights[alike[row]].sum())))
    return [number for number, chosen in zip(numbers, alike[best], strict=True) if chosen]


def _fused(faces: Sequence[SelfieFace]) -> Embedding:
    if len(faces) == 1:
        return faces[0].embedding
    total = sum(weight(face) * face.embedding.astype(np.float64) for face in faces)
    fused: Embedding = np.asarray(total / np.linalg.norm(total), np.float32)
    return fused


def _warnings(number: int, selfie: SelfieFaces, *, used: bool) -> Iterator[SelfieWarning]:
    face = selfie.largest
    if face is None:
        yield _warning(WarningCode.NO_FACE, number, None)
    elif not used:
        yield _warning(WarningCode.OUTLIER, number, face)
    else:
        for code, fires in _faults(selfie, face).items():
            if fires:
                yield _warning(code, number, face)


def _faults(selfie: SelfieFaces, face: SelfieFace) -> dict[WarningCode, bool]:
    quality = face.quality
    return {
        WarningCode.SEVERAL_FACES: bool(selfie.others),
        WarningCode.TOO_SMALL: quality.size < SMALL_FACE,
        WarningCode.BLURRED: face.detail < LITTLE_DETAIL,
        WarningCode.TOO_DARK: face.brightness < DARK_FACE,
        WarningCode.TURNED_AWAY: abs(quality.yaw) > TURNED_YAW or abs(quality.pitch) > TURNED_PITCH,
    }


_MESSAGES = {
    WarningCode.NO_FACE: "no face was found in this selfie, and it was left out; take another, well lit",
    WarningCode.OUTLIER: "this selfie shows somebody else than the others, and was left out; send selfies of one"
    " person",
    WarningCode.SEVERAL_FACES: "there are several faces in this selfie, and the largest was used; take one of"
    " yourself alone",
    WarningCode.TOO_SMALL: "the face in this selfie is small; come closer to the camera",
    WarningCode.BLURRED: "this selfie is blurred; hold the camera still, and wipe its lens",
    WarningCode.TOO_DARK: "the face in this selfie is dark; turn towards the light",
    WarningCode.TURNED_AWAY: "the face in this selfie is turned away; look into the camera",
}


def _warning(code: WarningCode, number: int, face: SelfieFace | None) -> SelfieWarning:
    return SelfieWarning(code=code, selfie=number, message=_MESSAGES[code], box=None if face is None else face.box)
