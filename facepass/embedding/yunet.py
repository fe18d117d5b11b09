"""YuNet: a picture to boxes, landmarks and scores.

Post-processing after OpenCV's `FaceDetectorYN` (modules/objdetect/src/face_detect.cpp), in NumPy.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from facepass.embedding.decoding import Pixels
from facepass.embedding.runtimes import Network, Tensor

STRIDES = (8, 16, 32)
OUTPUTS = tuple(f"{kind}_{stride}" for kind in ("cls", "obj", "bbox", "kps") for stride in STRIDES)

SCORE_THRESHOLD = 0.6
OVERLAP_THRESHOLD = 0.3
"""Of two boxes with a larger intersection over union, only the better counts (OpenCV's default)."""
CANDIDATES = 5000
"""Boxes considered before overlaps are removed (OpenCV's default)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Detections:
    """Faces of one picture, the best score first.

    Attributes:
        boxes: shape (n, 4): x, y, width, height.
        landmarks: shape (n, 5, 2).
        scores: shape (n,), from 0 to 1.
    """

    boxes: NDArray[np.float32]
    landmarks: NDArray[np.float32]
    scores: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.scores)


def detect(network: Network, pixels: Pixels, *, longer_side: int) -> Detections:
    """Find faces in a picture shrunk to `longer_side` (never enlarged), in pixels of the picture as given."""
    height, width = pixels.shape[:2]
    factor = min(1.0, longer_side / max(height, width))
    small_width, small_height = max(1, round(width * factor)), max(1, round(height * factor))
    tensor = _network_input(pixels, small_width, small_height)
    found = _candidates(network.run(tensor), tensor.shape[3])
    scale = np.array([width / small_width, height / small_height], np.float32)
    return Detections(
        boxes=found.boxes * np.tile(scale, 2), landmarks=found.landmarks * scale, scores=found.scores
    )


def _network_input(pixels: Pixels, width: int, height: int) -> Tensor:
    """Shape (1, 3, height, width), BGR, 0 to 255, zeros added below and to the right up to whole cells."""
    cell = STRIDES[-1]
    canvas = np.zeros((-(-height // cell) * cell, -(-width // cell) * cell, 3), np.uint8)
    if pixels.shape[:2] == (height, width):
        canvas[:height, :width] = pixels
    else:
        canvas[:height, :width] = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.dnn.blobFromImage(canvas, swapRB=True), np.float32)


def _candidates(outputs: Sequence[Tensor], width: int) -> Detections:
    levels = [
        _decode_level(*(outputs[kind * len(STRIDES) + level][0] for kind in range(4)), stride=stride, width=width)
        for level, stride in enumerate(STRIDES)
    ]
    boxes, landmarks, scores = (np.concatenate(parts) for parts in zip(*levels, strict=True))
    best = np.argsort(-scores, kind="stable")[:CANDIDATES]
    best = best[_without_overlaps(boxes[best])]
    return Detections(boxes=boxes[best], landmarks=landmarks[best], scores=scores[best])


def _decode_level(
    classes: Tensor, objects: Tensor, boxes: Tensor, landmarks: Tensor, *, stride: int, width: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Boxes, landmarks and scores of one stride's cells above the threshold; cells are stored row by row."""
    product = np.clip(classes[:, 0], 0, 1) * np.clip(objects[:, 0], 0, 1)
    chosen = np.flatnonzero(product >= SCORE_THRESHOLD**2)
    rows, columns = np.divmod(chosen, width // stride)
    cells = np.stack([columns, rows], axis=1).astype(np.float32)
    centres = (cells + boxes[chosen, :2]) * stride
    sizes = np.exp(boxes[chosen, 2:]) * stride
    points = (landmarks[chosen].reshape(-1, 5, 2) + cells[:, None]) * stride
    return np.concatenate([centres - sizes / 2, sizes], axis=1), points, np.sqrt(product[chosen])


def _without_overlaps(boxes: Tensor) -> NDArray[np.intp]:
    """Greedy non-maximum suppression over boxes ordered best first: the indices to keep."""
    corners = boxes[:, :2], boxes[:, :2] + boxes[:, 2:]
    areas = boxes[:, 2] * boxes[:, 3]
    alive = np.arange(len(boxes))
    kept: list[int] = []
    while len(alive):
        first, rest = alive[0], alive[1:]
        kept.append(int(first))
        sides = np.minimum(corners[1][first], corners[1][rest]) - np.maximum(corners[0][first], corners[0][rest])
        shared = np.prod(np.maximum(sides, 0), axis=1)
        alive = rest[shared <= OVERLAP_THRESHOLD * (areas[first] + areas[rest] - shared)]
    return np.array(kept, np.intp)
