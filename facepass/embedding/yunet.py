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

SCORE_THRESHOLD = 0.5
"""Least score of a detection. The quality gate leaves out more, and says so in the row."""
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
    """Find faces in a picture shrunk to `longer_side` (never enlarged), in pixels of the picture as given.

    A picture large enough to hold faces that YuNet cannot see whole is searched again at a quarter of the size.
    """
    fine = _shrink(pixels, longer_side)
    found = _detect_at_size(network, fine)
    if max(fine.shape) > _COARSE_FROM:
        coarse = _shrink(fine, max(fine.shape) // _COARSER)
        found = _with_large_faces(found, _scaled(_detect_at_size(network, coarse), coarse, fine))
    return _scaled(found, fine, pixels)


_COARSE_FROM = 640
_COARSER = 4
_LARGE = 480.0
"""Faces wider than this, in pixels of the detector's input, are taken from the coarse pass.

Measured with close-ups of the 20 single-person photos, the mean (and least) cosine of the face found to the face
of the original photo, by the face's width in a picture of 1280 pixels: fine pass 384 px 0.963 (0.90), 480 px
0.955 (0.87), 576 px 0.903 (0.72), 768 px 0.508 (-0.01), with boxes around parts of the face; coarse pass 0.944
(0.83), 0.955 (0.87), 0.950 (0.89), 0.942 (0.88). It takes 6 % of the fine pass's time.
"""
_COARSE_SCORE = 0.8
"""Least score of a coarse face: those close-ups had at least 0.92, large things that are no faces at most 0.6."""
_PART_WIDTH, _PART_INSIDE = 0.3, 0.5
"""A fine detection at least so wide compared with a large face, and with that share of its area inside it, is a
part of it: such false ones were 0.42 to 0.94 as wide."""


def _with_large_faces(fine: Detections, coarse: Detections) -> Detections:
    """The fine pass's detections, with large faces and parts of such replaced by the coarse pass's."""
    large = _chosen(coarse, np.flatnonzero((coarse.boxes[:, 2] >= _LARGE) & (coarse.scores >= _COARSE_SCORE)))
    if not len(large):
        return fine
    shared = _shared_areas(fine.boxes[:, None], large.boxes[None])
    inside = shared >= _PART_INSIDE * (fine.boxes[:, 2] * fine.boxes[:, 3])[:, None]
    wide = fine.boxes[:, None, 2] >= _PART_WIDTH * large.boxes[None, :, 2]
    rest = _chosen(fine, np.flatnonzero(~(inside & wide).any(axis=1)))
    scores = np.concatenate([large.scores, rest.scores])
    both = Detections(
        boxes=np.concatenate([large.boxes, rest.boxes]),
        landmarks=np.concatenate([large.landmarks, rest.landmarks]),
        scores=scores,
    )
    return _chosen(both, np.argsort(-scores, kind="stable"))


def _chosen(found: Detections, which: NDArray[np.intp]) -> Detections:
    return Detections(boxes=found.boxes[which], landmarks=found.landmarks[which], scores=found.scores[which])


def _scaled(found: Detections, searched: Pixels, wanted: Pixels) -> Detections:
    """The detections in pixels of the same picture at another size than the one that was searched."""
    scale = np.array([wanted.shape[1] / searched.shape[1], wanted.shape[0] / searched.shape[0]], np.float32)
    return Detections(
        boxes=found.boxes * np.tile(scale, 2), landmarks=found.landmarks * scale, scores=found.scores
    )


def _detect_at_size(network: Network, pixels: Pixels) -> Detections:
    tensor = _network_input(pixels)
    return _candidates(network.run(tensor), tensor.shape[3])


def _shrink(pixels: Pixels, longer_side: int) -> Pixels:
    """Halve by averaging as often as possible, then interpolate.

    It takes a quarter of the time of averaging to any size, and the same faces are found.
    """
    height, width = pixels.shape[:2]
    factor = min(1.0, longer_side / max(height, width))
    size = max(1, round(width * factor)), max(1, round(height * factor))
    while max(pixels.shape[:2]) >= 2 * longer_side and min(pixels.shape[:2]) > 1:
        half = pixels.shape[1] // 2, pixels.shape[0] // 2
        pixels = np.asarray(cv2.resize(pixels, half, interpolation=cv2.INTER_AREA), np.uint8)
    if (pixels.shape[1], pixels.shape[0]) != size:
        pixels = np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_LINEAR), np.uint8)
    return pixels


def _network_input(pixels: Pixels) -> Tensor:
    """Shape (1, 3, height, width), BGR, 0 to 255, zeros added below and to the right up to whole cells."""
    height, width = pixels.shape[:2]
    cell = STRIDES[-1]
    below, right = -height % cell, -width % cell
    if below or right:
        pixels = np.asarray(cv2.copyMakeBorder(pixels, 0, below, 0, right, cv2.BORDER_CONSTANT), np.uint8)
    return np.asarray(cv2.dnn.blobFromImage(pixels, swapRB=True), np.float32)


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
    """Boxes, landmarks and scores of one stride's cells above the threshold; cells are stored row by row.

    A face without a place, that is one of infinite size, is none.
    """
    product = np.clip(classes[:, 0], 0, 1) * np.clip(objects[:, 0], 0, 1)
    chosen = np.flatnonzero(product >= SCORE_THRESHOLD**2)
    rows, columns = np.divmod(chosen, width // stride)
    cells = np.stack([columns, rows], axis=1).astype(np.float32)
    centres = (cells + boxes[chosen, :2]) * stride
    with np.errstate(over="ignore"):
        sizes = np.exp(boxes[chosen, 2:]) * stride
    points = (landmarks[chosen].reshape(-1, 5, 2) + cells[:, None]) * stride
    found = np.concatenate([centres - sizes / 2, sizes], axis=1)
    placed = np.isfinite(found).all(axis=1) & np.isfinite(points).all(axis=(1, 2))
    return found[placed], points[placed], np.sqrt(product[chosen][placed])


def _without_overlaps(boxes: Tensor) -> NDArray[np.intp]:
    """Greedy non-maximum suppression over boxes ordered best first: the indices to keep."""
    areas = boxes[:, 2] * boxes[:, 3]
    alive = np.arange(len(boxes))
    kept: list[int] = []
    while len(alive):
        first, rest = alive[0], alive[1:]
        kept.append(int(first))
        shared = _shared_areas(boxes[first], boxes[rest])
        alive = rest[shared <= OVERLAP_THRESHOLD * (areas[first] + areas[rest] - shared)]
    return np.array(kept, np.intp)


def _shared_areas(one: Tensor, other: Tensor) -> Tensor:
    """Area of the intersection of boxes, shapes (..., 4) broadcast against each other."""
    begin = np.maximum(one[..., :2], other[..., :2])
    end = np.minimum(one[..., :2] + one[..., 2:], other[..., :2] + other[..., 2:])
    sides = np.maximum(end - begin, 0)
    shared: Tensor = sides[..., 0] * sides[..., 1]
    return shared
