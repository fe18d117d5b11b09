"""Post-processing, alignment and quality beside independent implementations."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.samples import astronaut_jpeg, group_jpeg

from facepass.embedding import FaceEngine, decode_image
from facepass.embedding.alignment import ALIGNED_SIZE, TEMPLATE, align, similarity_to_template
from facepass.embedding.folding import fold
from facepass.embedding.packs import open_pack
from facepass.embedding.quality import Gate, measure, pose
from facepass.embedding.yunet import OUTPUTS, STRIDES, detect
from facepass.schemas.faces import Box, Face, LeftOutReason, Quality


@pytest.mark.parametrize("sample", [astronaut_jpeg, group_jpeg])
def test_detections_equal_those_of_opencv(
    sample: "type[object]", engine: FaceEngine, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """OpenCV runs its own network, post-processing and suppression on the same file."""
    data: bytes = sample()  # type: ignore[assignment]
    model = tmp_path_factory.mktemp("model") / "detector.onnx"
    model.write_bytes(fold(open_pack("starter").detector.read(), free_size=False))
    pixels = decode_image(data, max_pixels=10_000_000).pixels
    size = (pixels.shape[1], pixels.shape[0])
    detector = cv2.FaceDetectorYN.create(str(model), "", size, score_threshold=0.5, nms_threshold=0.3)
    _, theirs = detector.detect(np.ascontiguousarray(pixels[..., ::-1]))
    ours = engine.analyse_photo(data).faces
    assert len(ours) == len(theirs) > 0
    for face, row in zip(ours, sorted(theirs, key=lambda row: -row[-1]), strict=True):
        assert np.abs(_box(face) - row[:4]).max() < 0.5
        assert np.abs(face.landmarks.ravel() - row[4:14]).max() < 0.5
        assert abs(face.confidence - row[14]) < 1e-3


class _OneOfTwo:
    """A detection network that sees two faces of 8 pixels in the left corners, the upper one of a size that no
    number holds."""

    def run(self, tensor: np.ndarray) -> list[np.ndarray]:
        height, width = tensor.shape[2:]
        cells = [(height // stride) * (width // stride) for stride in STRIDES]
        outputs = {
            f"{kind}_{stride}": np.zeros((1, count, size), np.float32)
            for kind, size in (("cls", 1), ("obj", 1), ("bbox", 4), ("kps", 10))
            for stride, count in zip(STRIDES, cells, strict=True)
        }
        for cell in (0, cells[0] - width // STRIDES[0]):
            outputs["cls_8"][0, cell] = outputs["obj_8"][0, cell] = 1
        outputs["bbox_8"][0, 0, 2:] = 200
        return [outputs[name] for name in OUTPUTS]


def test_a_face_of_infinite_size_is_none() -> None:
    found = detect(_OneOfTwo(), np.zeros((64, 96, 3), np.uint8), longer_side=640)
    assert found.boxes.tolist() == [[-4, 52, 8, 8]]


def _box(face: Face) -> np.ndarray:
    return np.array([face.box.x, face.box.y, face.box.width, face.box.height])


def _moved(points: np.ndarray, *, degrees: float, scale: float, x: float, y: float) -> np.ndarray:
    angle = np.radians(degrees)
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return (points @ turn.T + (x, y)).astype(np.float32)


moves = st.fixed_dictionaries(
    {
        "degrees": st.floats(-180, 180),
        "scale": st.floats(0.1, 30),
        "x": st.floats(-5000, 5000),
        "y": st.floats(-5000, 5000),
    }
)


@given(moves)
def test_alignment_undoes_turn_scale_and_shift(move: dict[str, float]) -> None:
    landmarks = _moved(TEMPLATE, **move)
    matrix = similarity_to_template(landmarks)
    assert np.abs(landmarks @ matrix[:, :2].T + matrix[:, 2] - TEMPLATE).max() < 0.05


@settings(deadline=None)
@given(moves, st.lists(st.floats(-6, 6), min_size=10, max_size=10))
def test_alignment_is_the_least_squares_similarity(move: dict[str, float], noise: list[float]) -> None:
    """Against the normal equations of the four unknowns, solved by NumPy."""
    landmarks = _moved(TEMPLATE + np.reshape(noise, (5, 2)), **move).astype(np.float64)
    x, y = (landmarks - landmarks.mean(axis=0)).T
    one, zero = np.ones(5), np.zeros(5)
    system = np.concatenate([np.stack([x, -y, one, zero], 1), np.stack([y, x, zero, one], 1)])
    expected, *_ = np.linalg.lstsq(system, TEMPLATE.T.ravel(), rcond=None)
    matrix = similarity_to_template(landmarks.astype(np.float32))
    assert np.allclose([matrix[0, 0], matrix[1, 0]], expected[:2], rtol=1e-3, atol=1e-6)
    assert np.allclose(matrix @ [*landmarks.mean(axis=0), 1], expected[2:], atol=0.05)


@pytest.mark.parametrize("scale", [0.5, 1.0, 2.5, 9.0])
def test_an_aligned_face_lies_on_the_template(scale: float) -> None:
    """Five dots at the landmarks of a turned face end on the template's points."""
    landmarks = _moved(TEMPLATE, degrees=25, scale=scale, x=300, y=200)
    picture = np.zeros((1600, 1600, 3), np.uint8)
    for point in landmarks:
        cv2.circle(
            picture, np.round(point * 16).astype(int).tolist(), int(3 * scale * 16), (255,) * 3, -1, shift=4
        )
    aligned = align(picture, landmarks)
    assert aligned.shape == (ALIGNED_SIZE, ALIGNED_SIZE, 3)
    _, _, _, centres = cv2.connectedComponentsWithStats((aligned[..., 0] > 127).astype(np.uint8))
    found = centres[1:][np.argsort(centres[1:, 1])]
    assert np.abs(found - TEMPLATE[np.argsort(TEMPLATE[:, 1])]).max() < 0.6


def test_a_frontal_face_has_no_pose() -> None:
    assert np.allclose(pose(TEMPLATE.astype(np.float32)), 0, atol=0.5)


@given(moves)
def test_roll_is_the_turn_in_the_picture_and_moves_nothing_else(move: dict[str, float]) -> None:
    straight, turned = pose(TEMPLATE.astype(np.float32)), pose(_moved(TEMPLATE, **move))
    assert abs((turned[2] - straight[2] - move["degrees"] + 180) % 360 - 180) < 0.5
    assert np.allclose(turned[:2], straight[:2], atol=1)


@pytest.mark.parametrize("yaw", [-50, -20, 0, 20, 50])
@pytest.mark.parametrize("pitch", [-20, 0, 20])
def test_pose_of_a_turned_head(yaw: float, pitch: float) -> None:
    """A head of other proportions, turned in space and seen from afar: right to 12 degrees."""
    head = np.array([[-31, 30, -28], [31, 30, -28], [0, 0, 0], [-24, -36, -24], [24, -36, -24]], np.float64)
    across, up = np.radians(yaw), np.radians(pitch)
    turn_across = np.array([[np.cos(across), 0, np.sin(across)], [0, 1, 0], [-np.sin(across), 0, np.cos(across)]])
    turn_up = np.array([[1, 0, 0], [0, np.cos(up), -np.sin(up)], [0, np.sin(up), np.cos(up)]])
    points = (head @ (turn_up @ turn_across).T)[:, :2] * (2, -2) + 500
    found = pose(points.astype(np.float32))
    assert abs(abs(found[0]) - abs(yaw)) < 12
    assert yaw == 0 or np.sign(found[0]) == np.sign(pose(_nose_to(5.0 * np.sign(yaw)))[0])


def _nose_to(pixels: float) -> np.ndarray:
    """A frontal face whose nose tip is moved sideways in the picture."""
    points = TEMPLATE.astype(np.float32).copy()
    points[2, 0] += pixels
    return points


def test_sharpness_falls_with_blur() -> None:
    pixels = decode_image(astronaut_jpeg(), max_pixels=10_000_000).pixels
    face = pixels[60:172, 170:282]
    box, landmarks = Box(x=0, y=0, width=80, height=112), TEMPLATE.astype(np.float32)
    levels = [
        measure(box, landmarks, cv2.GaussianBlur(face, (0, 0), sigma).astype(np.uint8)).sharpness
        for sigma in (0.4, 1, 2, 4)
    ]
    assert levels == sorted(levels, reverse=True)
    assert measure(box, landmarks, face).size == 80


@pytest.mark.parametrize(
    ("change", "confidence", "reason"),
    [
        ({}, 0.9, None),
        ({}, 0.55, None),
        ({"size": 63.0}, 0.59, None),
        ({"size": 64.0}, 0.59, LeftOutReason.LOW_CONFIDENCE),
        ({"size": 64.0}, 0.6, None),
        ({"sharpness": 19.0}, 0.59, LeftOutReason.LOW_CONFIDENCE),
        ({"sharpness": 19.0}, 0.6, None),
        ({"size": 11.9}, 0.9, LeftOutReason.TOO_SMALL),
        ({"sharpness": 1.9}, 0.9, LeftOutReason.BLURRED),
        ({"yaw": -66.0}, 0.9, LeftOutReason.TURNED_AWAY),
        ({"yaw": 66.0}, 0.9, LeftOutReason.TURNED_AWAY),
        ({"roll": 180.0, "pitch": 40.0}, 0.9, None),
    ],
)
def test_the_gate_names_its_reason(
    change: dict[str, float], confidence: float, reason: LeftOutReason | None
) -> None:
    usual = {"size": 24.0, "sharpness": 28.0, "yaw": 0.0, "pitch": 0.0, "roll": 0.0}
    assert Gate().reason(Quality(**usual | change), confidence, searched_scale=0.5) is reason
