"""How usable a face is, and the gate that leaves out faces which would only do harm."""

from dataclasses import dataclass

import cv2
import numpy as np

from facepass.embedding.decoding import Pixels
from facepass.schemas.faces import Box, Landmarks, LeftOutReason, Quality

_HEAD = np.array(
    [[-31.5, 32.0, -26.0], [31.5, 32.0, -26.0], [0.0, 0.0, 0.0], [-26.0, -37.0, -22.0], [26.0, -37.0, -22.0]]
)
"""A generic head's eyes, nose tip, mouth corners in millimetres; the nose tip is 0, y up, z to the camera."""

_FIT = np.linalg.pinv(np.column_stack([_HEAD, np.ones(5)]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """Bounds below or beyond which a face is left out."""

    smallest: float = 10.0
    least_sharpness: float = 5.0
    most_turned: float = 80.0

    def reason(self, quality: Quality) -> LeftOutReason | None:
        """Why a face is left out; None if it counts."""
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
