"""The findings of the embedding part in a photo."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Embedding = NDArray[np.float32]
"""One face: shape (vector size of the generation,), L2 norm 1 within 1e-5."""

Landmarks = NDArray[np.float32]
"""Shape (5, 2), (x, y) in pixels: right eye, left eye, nose tip, right and left mouth corner, as the subject's."""


class Box(NamedTuple):
    """A rectangle in pixels of the oriented photo at its full size; may reach over the photo's edge.

    A tuple because a search may make a thousand: with a dataclass its matches took nearly twice as long to make.
    """

    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality:
    """The measures of how usable a face is.

    Attributes:
        size: shorter side of the box in pixels of the photo at full size.
        sharpness: variance of the Laplacian of the aligned grey face (0 to 255 levels); higher is sharper.
        yaw: degrees the head is turned left or right, estimated from the landmarks, 0 is frontal.
        pitch: degrees the head is turned up or down, estimated likewise.
        roll: degrees the line of the eyes is rotated in the picture.
    """

    size: float
    sharpness: float
    yaw: float
    pitch: float
    roll: float


class LeftOutReason(StrEnum):
    """The reason why the quality gate left a face out."""

    TOO_SMALL = "too_small"
    BLURRED = "blurred"
    TURNED_AWAY = "turned_away"
    LOW_CONFIDENCE = "low_confidence"


@dataclass(frozen=True, slots=True, kw_only=True)
class Face:
    """A face that counts. `confidence` is the detector's score, 0 to 1."""

    box: Box
    landmarks: Landmarks
    confidence: float
    quality: Quality
    embedding: Embedding


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOutFace:
    """A face that the quality gate left out. Has no embedding: it would only do harm."""

    box: Box
    confidence: float
    reason: LeftOutReason


@dataclass(frozen=True, slots=True, kw_only=True)
class PhotoFaces:
    """All faces of one photo, the most confident first.

    Attributes:
        width, height: of the oriented photo at full size, pixels.
        faces: those that count.
        left_out: those that do not.
    """

    width: int
    height: int
    faces: tuple[Face, ...]
    left_out: tuple[LeftOutFace, ...]

    @property
    def detected(self) -> int:
        """The number of faces found, those left out too."""
        return len(self.faces) + len(self.left_out)


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundFace:
    """A face that was found and looked at no further. `confidence` is the detector's score, 0 to 1."""

    box: Box
    confidence: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SelfieFace:
    """The face of a selfie that is searched with.

    Attributes:
        confidence: the detector's score, 0 to 1.
        brightness: mean grey level of the face, 0 to 255.
        detail: how much of the face's contrast is fine, in its blurred direction if it has one; 0 and more. Good
            selfies have 0.05 and more, whatever their light.
    """

    box: Box
    confidence: float
    quality: Quality
    brightness: float
    detail: float
    embedding: Embedding


@dataclass(frozen=True, slots=True, kw_only=True)
class SelfieFaces:
    """The faces of one selfie.

    Attributes:
        width, height: of the oriented selfie at full size, pixels.
        largest: the face that covers most of it: its taker is nearest to the camera. None: there is no face.
        others: the rest, the largest first.
    """

    width: int
    height: int
    largest: SelfieFace | None
    others: tuple[FoundFace, ...]

    @property
    def detected(self) -> int:
        """The number of faces found."""
        return len(self.others) + (self.largest is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationSpec:
    """The model pack and the settings that change vectors or faces: they decide which vectors a photo gets.

    Attributes:
        pack: name of the model pack.
        vector_size: floats per embedding.
        operating_point: cosine that maps to similarity 0.7.
        fingerprint: settings and model checksums by name, flat and comparable; equal fingerprints make equal
            faces and vectors equal to cosine 0.999 or more.
    """

    pack: str
    vector_size: int
    operating_point: float
    fingerprint: Mapping[str, str]
