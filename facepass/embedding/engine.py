"""Bytes of a photo to faces with embeddings: the engine of a process."""

import os
import sys
from dataclasses import asdict
from functools import partial

import cv2
import numpy as np
from numpy.typing import NDArray

from facepass.embedding import yunet
from facepass.embedding.alignment import align
from facepass.embedding.cache import cached, default_cache_dir
from facepass.embedding.decoders import Decoder, DecoderHere, DecoderPool
from facepass.embedding.decoding import Picture, Pixels
from facepass.embedding.packs import ModelFile, ModelPack, invalid_pack, open_pack
from facepass.embedding.quality import Gate, light_and_detail, measure
from facepass.embedding.runtimes import Network, open_runtime
from facepass.schemas.faces import (
    Box,
    Embedding,
    Face,
    FoundFace,
    GenerationSpec,
    Landmarks,
    LeftOutFace,
    PhotoFaces,
    SelfieFace,
    SelfieFaces,
)
from facepass.schemas.settings import ModelSettings

ANALYSIS_REVISION = 1
"""Raised when code changes which faces or vectors a photo gets: stored ones must never meet the new ones."""

SELFIE_DETECTION_SIZE = 640
"""Longer side at which a selfie is searched first, pixels: its face is large, and 1280 takes four times longer."""

SELFIE_CONFIDENCE = 0.8
"""A face of a selfie counts from this detector score on, unless none has it. Of 20 portraits searched at 640 every
face had 0.93 and more, and two things that are no faces 0.70 and 0.61; faces of 24 pixels still had 0.86."""

DECODED_SHARE = 1.5
"""How many times larger than the detection size a photo is decoded at least, where it is that large.

The detector loses nothing at 1.0, but the recogniser is given the decoded pixels. Measured with 20 faces of 70
pixels in a photo of 6000 x 4000, cosine to the original: decoded 1500 wide 0.64 on average (least 0.36), 3000 wide
0.82 (0.61), 6000 wide 0.85 (0.65), in 38, 43 and 81 ms.
"""


class FaceEngine:
    """The analyser of photos. One per process; safe to use from several threads at once.

    Attributes:
        spec: what decides the vectors.
        runtime: `openvino` or `onnxruntime`.
        threads: how many analyses at once make sense; each uses one thread.
    """

    def __init__(
        self,
        *,
        spec: GenerationSpec,
        runtime: str,
        threads: int,
        decoder: Decoder,
        detector: Network,
        recogniser: Network,
        gate: Gate,
        settings: ModelSettings,
    ) -> None:
        self.spec = spec
        self.runtime = runtime
        self.threads = threads
        self._decoder = decoder
        self._detector = detector
        self._recogniser = recogniser
        self._gate = gate
        self._settings = settings

    def analyse_photo(self, data: bytes) -> PhotoFaces:
        """Find the faces of a photo and embed those that pass the quality gate.

        Raises:
            PermanentError: `too_many_pixels`, `unsupported_image`, `damaged_image`, `decoder_failed`.
            TransientError: `overloaded`.
        """
        size = self._settings.detection_size
        with self._decoder.decoded(
            data, max_pixels=self._settings.photo_max_pixels, longer_side=round(size * DECODED_SHARE)
        ) as picture:
            found = yunet.detect(self._detector, picture.pixels, longer_side=size)
            return self._faces(picture, found)

    def analyse_selfie(self, data: bytes, *, max_bytes: int, max_pixels: int) -> SelfieFaces:
        """Find a selfie's faces and embed the largest; searched at a larger size only when the first finds none.

        Raises:
            PermanentError: `file_too_large`, `too_many_pixels`, `unsupported_image`, `damaged_image`,
                `decoder_failed`.
            TransientError: `overloaded`.
        """
        size = self._settings.detection_size
        with self._decoder.decoded(
            data, max_bytes=max_bytes, max_pixels=max_pixels, longer_side=round(size * DECODED_SHARE)
        ) as picture:
            found = yunet.detect(self._detector, picture.pixels, longer_side=SELFIE_DETECTION_SIZE)
            if not len(found) and size > SELFIE_DETECTION_SIZE < max(picture.pixels.shape):
                found = yunet.detect(self._detector, picture.pixels, longer_side=size)
            return self._largest(picture, found)

    def _faces(self, picture: Picture, found: yunet.Detections) -> PhotoFaces:
        scale = np.array(picture.scale, np.float32)
        searched_scale = min(1.0, self._settings.detection_size / max(picture.width, picture.height))
        faces: list[Face] = []
        left_out: list[LeftOutFace] = []
        for corner_and_size, points, score in zip(found.boxes, found.landmarks, found.scores, strict=True):
            box, landmarks, confidence = _box(corner_and_size, scale), points * scale, float(score)
            aligned = align(picture.pixels, points)
            quality = measure(box, landmarks, aligned)
            reason = self._gate.reason(quality, confidence, searched_scale=searched_scale)
            if reason:
                left_out.append(LeftOutFace(box=box, confidence=confidence, reason=reason))
                continue
            embedding = self._embed(aligned)
            faces.append(
                Face(box=box, landmarks=landmarks, confidence=confidence, quality=quality, embedding=embedding)
            )
        return PhotoFaces(width=picture.width, height=picture.height, faces=tuple(faces), left_out=tuple(left_out))

    def _largest(self, picture: Picture, found: yunet.Detections) -> SelfieFaces:
        sizes = found.boxes[:, 2] * found.boxes[:, 3]
        chosen = np.flatnonzero(found.scores >= SELFIE_CONFIDENCE)
        if not len(chosen):
            chosen = np.arange(len(found))[:1]  # the best there is
        order = chosen[np.argsort(-sizes[chosen], kind="stable")]
        scale = np.array(picture.scale, np.float32)
        faces = [
            FoundFace(box=_box(found.boxes[place], scale), confidence=float(found.scores[place]))
            for place in order
        ]
        largest = self._searched(picture, found.landmarks[order[0]], faces[0]) if faces else None
        return SelfieFaces(width=picture.width, height=picture.height, largest=largest, others=tuple(faces[1:]))

    def _searched(self, picture: Picture, points: Landmarks, face: FoundFace) -> SelfieFace:
        aligned = align(picture.pixels, points)
        brightness, detail = light_and_detail(aligned)
        return SelfieFace(
            box=face.box,
            confidence=face.confidence,
            quality=measure(face.box, points * np.array(picture.scale, np.float32), aligned),
            brightness=brightness,
            detail=detail,
            embedding=self._embed(aligned),
        )

    def _embed(self, aligned: Pixels) -> Embedding:
        """A normalised embedding. SFace takes RGB from 0 to 255; its graph does the scaling."""
        vector = self._recogniser.run(np.asarray(cv2.dnn.blobFromImage(aligned), np.float32))[0][0]
        normalised: Embedding = vector / np.float32(np.linalg.norm(vector))
        return normalised


def _box(corner_and_size: NDArray[np.float32], scale: NDArray[np.float32]) -> Box:
    x, y, width, height = (float(value) for value in corner_and_size * np.tile(scale, 2))
    return Box(x=x, y=y, width=width, height=height)


def open_engine(settings: ModelSettings, *, isolated: bool = True) -> FaceEngine:
    """Load the model pack, prepare it (kept in the cache directory) and compile it.

    Args:
        isolated: decode in processes of their own (where the system is Linux); else in this one.

    Raises:
        PermanentError: `invalid_pack`, or `invalid_setting` for a runtime that is not installed.
    """
    pack = open_pack(settings.model)
    gate = Gate()
    threads = settings.threads or len(os.sched_getaffinity(0))
    runtime = open_runtime(settings.runtime, threads=threads)
    cv2.setNumThreads(1)
    detector = _prepare(pack.detector, settings, kind="yunet")
    recogniser = _prepare(pack.recogniser, settings, kind="sface")
    return FaceEngine(
        spec=_spec(pack, gate, settings),
        runtime=runtime.name,
        threads=threads,
        decoder=DecoderPool(threads) if isolated and sys.platform == "linux" else DecoderHere(),
        detector=runtime.compile(detector, yunet.OUTPUTS, exact=True),
        recogniser=runtime.compile(recogniser, ["fc1"], exact=False),
        gate=gate,
        settings=settings,
    )


def read_spec(settings: ModelSettings) -> GenerationSpec:
    """The `spec` that `open_engine` would give, without loading a network: for a process that analyses nothing.

    Raises:
        PermanentError: `invalid_pack`.
    """
    return _spec(open_pack(settings.model), Gate(), settings)


def _prepare(file: ModelFile, settings: ModelSettings, *, kind: str) -> bytes:
    if file.kind != kind:
        raise invalid_pack(f"{file.path}: a model of kind {file.kind!r} is not known here, only {kind!r}")
    directory = settings.cache_dir or default_cache_dir()
    return cached(
        directory / "packs", f"{kind}-{file.sha256[:16]}", partial(_fold, file, free_size=kind == "yunet")
    )


def _fold(file: ModelFile, *, free_size: bool) -> bytes:
    from facepass.embedding.folding import fold  # noqa: PLC0415  (onnx is needed only here)

    try:
        return fold(file.read(), free_size=free_size)
    except ValueError as exc:
        raise invalid_pack(f"{file.path}: {exc}") from exc


def _spec(pack: ModelPack, gate: Gate, settings: ModelSettings) -> GenerationSpec:
    fingerprint = {
        "analysis": str(ANALYSIS_REVISION),
        "pack": pack.name,
        "detector": pack.detector.sha256,
        "recogniser": pack.recogniser.sha256,
        "detection_size": str(settings.detection_size),
        "score_threshold": str(yunet.SCORE_THRESHOLD),
        **{f"gate_{name}": str(value) for name, value in asdict(gate).items()},
    }
    return GenerationSpec(
        pack=pack.name,
        vector_size=pack.vector_size,
        operating_point=pack.operating_point,
        fingerprint=fingerprint,
    )
