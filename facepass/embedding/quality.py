"""The measures of how usable a face is, and the gate that leaves out faces which would only do harm."""

from dataclasses import dataclass

import cv2
import numpy as np

from facepass.embedding.alignment import TEMPLATE
from facepass.embedding.decoding import Pixels
from facepass.schemas.faces import Box, Landmarks, LeftOutReason, Quality

_HEAD = np.column_stack([TEMPLATE * (1, -1), [-26.0, -26.0, 0.0, -20.0, -20.0]])
"""A generic head's eyes, nose tip and mouth corners: x and y as in the template, a frontal face, so that it has
pose 0; z towards the camera, in the same unit (0.9 mm): eyes 23 mm, mouth 18 mm behind the nose tip."""

_FIT = np.linalg.pinv(np.column_stack([_HEAD, np.ones(5)]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """Bounds below or beyond which a face is left out.

    They are low on purpose: nothing that was tried made a poor face pass for another person (blurred, small and
    dark copies of the 20 labelled single-person photos, 1,151 faces: highest cosine to any other person 0.358, the
    operating point being 0.36), so what is left out had almost no chance to be found by its own selfie either.

    Attributes:
        smallest: shorter side of the box, pixels at full size. Of faces set into 1920 x 1080 at a width of 12
            pixels, 2 of 6 that were detected matched their original; at 14 pixels 7 of 9.
        least_sharpness: see `Quality.sharpness`. Below 2.0 there were 31 of those copies in full and in half
            light, and none matched its original; 124 in a fifth of the light, and 11 did (with a bound of 3.0, 52
            of 192). Sharp faces of 24 pixels and more have at least 28 in full light, 9 in half, 2.9 in a fifth.
        most_turned: degrees of yaw to either side. The most turned face that was detected in the labelled photos
            and the samples of insightface and scikit-image stands at 53; no profile is among them, so this only
            keeps out landmarks that are no face's.
        unsure_confidence, unsure_sharpness, unsure_size: a face with less confidence is left out if it is less
            sharp, or at least so large in the picture given to the detector (shorter side, pixels): only few
            pixels excuse a low confidence. Of 36 of those copies under 0.6, 32 were less sharp than 20, and none
            of the 36 matched its original; sharp faces of 32 pixels and more always had at least 0.82, so that
            what is unsure and large is no face (there is one such in the labelled photos). Sharp faces of
            24 pixels at full size have at least 28; 3 of 97 that were found had less than 0.6, and they count.
    """

    smallest: float = 12.0
    least_sharpness: float = 2.0
    most_turned: float = 65.0
    unsure_confidence: float = 0.6
    unsure_sharpness: float = 20.0
    unsure_size: float = 32.0

    def reason(self, quality: Quality, confidence: float, *, searched_scale: float) -> LeftOutReason | None:
        """The reason why a face is left out; None if it counts.

        `searched_scale` is the size of the picture given to the detector over that of the photo, at most 1.
        """
        searched_size = quality.size * searched_scale
        if confidence < self.unsure_confidence and (
            quality.sharpness < self.unsure_sharpness or searched_size >= self.unsure_size
        ):
            return LeftOutReason.LOW_CONFIDENCE
        if quality.size < self.smallest:
            return LeftOutReason.TOO_SMALL
        if quality.sharpness < self.least_sharpness:
            return LeftOutReason.BLURRED
        if abs(quality.yaw) > self.most_turned:
            return LeftOutReason.TURNED_AWAY
        return None


def measure(box: Box, landmarks: Landmarks, aligned: Pixels) -> Quality:
    """Measure a face. `box` and `landmarks` in pixels of the photo at full size."""
    grey = cv2.cvtColor(aligned, cv2.COLOR_RGB2GRAY)
    yaw, pitch, roll = pose(landmarks)
    return Quality(
        size=min(box.width, box.height),
        sharpness=float(cv2.Laplacian(grey, cv2.CV_32F).var()),
        yaw=yaw,
        pitch=pitch,
        roll=roll,
    )


_MIDDLE = slice(36, 100), slice(24, 88)
"""Rows and columns of an aligned face without hair, background and what lies beyond the photo's edge."""


def light_and_detail(aligned: Pixels) -> tuple[float, float]:
    """The `brightness` and `detail` of a `SelfieFace`.

    Detail is the variance of second differences over that of the grey levels, across or down, whichever is less:
    so neither the light counts nor sharp edges along which a camera was moved.
    """
    grey = cv2.cvtColor(aligned, cv2.COLOR_RGB2GRAY)[_MIDDLE].astype(np.float32)
    fine = min(float(np.diff(grey, 2, axis=axis).var()) for axis in (0, 1))
    return float(grey.mean()), fine / max(float(grey.var()), 1.0)


def pose(landmarks: Landmarks) -> tuple[float, float, float]:
    """Yaw, pitch and roll in degrees, estimated from the landmarks by a weak-perspective fit of a generic head."""
    across = landmarks[1] - landmarks[0]
    roll = float(np.degrees(np.arctan2(across[1], across[0])))
    horizontal, vertical = (_FIT @ (landmarks * (1, -1)))[:3].T
    first = horizontal / max(float(np.linalg.norm(horizontal)), 1e-9)
    second = vertical - first * float(first @ vertical)
    second /= max(float(np.linalg.norm(second)), 1e-9)
    facing = np.cross(first, second)
    yaw = float(np.degrees(np.arctan2(first[2], facing[2])))
    pitch = float(np.degrees(np.arcsin(np.clip(second[2], -1, 1))))
    return yaw, pitch, roll
