"""The loop that peers run, as the programs built on the `insightface` package have it.

One process, one photo after the other: the file decoded in full by OpenCV, a detector at the detection size, each
face aligned from the full picture and embedded by itself by the package's own recogniser class, ONNX Runtime and
OpenCV with their own default threads. Detector and recogniser are the starter pack's: only the loop differs.

Runs in a child process of its own: the default threads of both libraries are the process's.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import cv2
import numpy as np

_THRESHOLD = 0.6
"""Detector score from which a face counts here; peers use 0.5 to 0.9."""

_loop: "_Loop"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Loop:
    detector: cv2.FaceDetectorYN
    recogniser: Any
    detection_size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerRun:
    """One run of the loop: `seconds` and `cpu` seconds of the whole loop, `faces` embedded in it."""

    seconds: float
    cpu: float
    faces: int


def reason_to_skip() -> str | None:
    """The reason why the loop cannot run here; None when it can."""
    if find_spec("scipy") is None:
        return "the insightface package imports scipy, which `make bench` installs"
    return None


def open_loop(detector: Path, recogniser: Path, detection_size: int) -> None:
    """Load both networks, in the child process, once."""
    # The package uses a function that scikit-image will drop; OpenCV tells which of its engines it takes.
    warnings.simplefilter("ignore", FutureWarning)
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_ERROR)
    global _loop  # noqa: PLW0603 - what a process pool's initialiser leaves for its calls
    from insightface.model_zoo import ArcFaceONNX  # noqa: PLC0415 - imports scipy, which may be absent

    network = ArcFaceONNX(model_file=str(recogniser))
    _loop = _Loop(
        detector=cv2.FaceDetectorYN.create(str(detector), "", (320, 320), _THRESHOLD),
        recogniser=network,
        detection_size=detection_size,
    )


def run_loop(photos: Sequence[Path]) -> PeerRun:
    """Embed every face of every photo, in the child process."""
    began, used = perf_counter(), process_time()
    faces = sum(_embed_all(photo) for photo in photos)
    return PeerRun(seconds=perf_counter() - began, cpu=process_time() - used, faces=faces)


def _embed_all(photo: Path) -> int:
    from insightface.app.common import Face  # noqa: PLC0415 - as above

    picture = cv2.imread(str(photo))
    if picture is None:
        return 0
    scale = min(1.0, _loop.detection_size / max(picture.shape[:2]))
    small = cv2.resize(picture, None, fx=scale, fy=scale)
    _loop.detector.setInputSize((small.shape[1], small.shape[0]))
    found = _loop.detector.detect(small)[1]
    rows = np.empty((0, 15), np.float32) if found is None else found
    for row in rows:
        face = Face(bbox=row[:4] / scale, kps=row[4:14].reshape(5, 2) / scale, det_score=row[14])
        _loop.recogniser.get(picture, face)
    return len(rows)
