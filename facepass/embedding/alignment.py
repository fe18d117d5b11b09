"""A face's pixels turned, scaled and cut so that its landmarks lie where a recogniser expects them."""

import cv2
import numpy as np
from numpy.typing import NDArray

from facepass.embedding.decoding import Pixels
from facepass.schemas.faces import Landmarks

ALIGNED_SIZE = 112
"""Width and height of an aligned face, pixels."""

TEMPLATE = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]
)
"""Eyes, nose tip and mouth corners of an aligned face: ArcFace's five points (insightface, `arcface_dst`)."""

_CENTRE = TEMPLATE.mean(axis=0)
_CENTRED = TEMPLATE - _CENTRE


def similarity_to_template(landmarks: Landmarks) -> NDArray[np.float64]:
    """The rotation, uniform scale and shift that bring `landmarks` closest to the template, shape (2, 3).

    The least-squares solution (Umeyama 1991) in closed form: in the plane, with complex numbers, the best factor
    is sum(conj(p) q) / sum(|p|^2) over centred points; it never mirrors.
    """
    points = landmarks.astype(np.float64)
    centre = points.mean(axis=0)
    centred = points - centre
    spread = max(float((centred**2).sum()), np.finfo(np.float64).tiny)
    real = float((centred * _CENTRED).sum()) / spread
    imaginary = float((centred[:, 0] * _CENTRED[:, 1] - centred[:, 1] * _CENTRED[:, 0]).sum()) / spread
    turn = np.array([[real, -imaginary], [imaginary, real]])
    return np.column_stack([turn, _CENTRE - turn @ centre])


_MOST_OVERSAMPLED = 4
"""A face larger than the template is cut out up to so many times larger and then averaged, since bilinear sampling
would pick single noisy pixels of it. Measured on the labelled photos against sampling once: mean cosine between
two photos of a person 0.768 for 0.761; to the same photo with strong noise (sigma 25) 0.931 for 0.863."""


def align(pixels: Pixels, landmarks: Landmarks) -> Pixels:
    """Cut a face out. `landmarks` in pixels of `pixels`. Shape (112, 112, 3), black where the photo ends."""
    matrix = similarity_to_template(landmarks)
    shrinking = 1 / max(float(np.hypot(matrix[0, 0], matrix[1, 0])), 1 / _MOST_OVERSAMPLED)
    times = max(1, int(shrinking))
    matrix *= times
    matrix[:, 2] += (times - 1) / 2
    side = ALIGNED_SIZE * times
    aligned = cv2.warpAffine(pixels, matrix, (side, side), flags=cv2.INTER_LINEAR)
    if times > 1:
        aligned = cv2.resize(aligned, (ALIGNED_SIZE, ALIGNED_SIZE), interpolation=cv2.INTER_AREA)
    return np.asarray(aligned, np.uint8)
