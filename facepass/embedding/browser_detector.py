"""The starter pack's face detector in a form that a web page runs by itself.

The selfie page gives its hints (too far, several faces) from the camera's picture without sending it anywhere.
So it runs YuNet in the browser, with the weights that the server's own detector has.
"""

import numpy as np
import onnx
from onnx import numpy_helper

from facepass.embedding.folding import fold
from facepass.embedding.packs import open_pack

BROWSER_DETECTOR_VERSION = 1
"""Raise it when the same model file gives other bytes."""

_PACK = "starter"
_UNUSED = "multi_level_kps"
"""The landmarks' branch: a hint needs boxes only."""


def browser_weights() -> bytes:
    """Weights and bias of each convolution in the graph's order, as little-endian 16-bit floats (0.1 MB).

    The landmarks' branch is left out; which layers there are, `page/static/js/detector.js` knows.

    Raises:
        PermanentError: `invalid_pack`: the model file is missing or another one.
    """
    graph = onnx.load_from_string(fold(open_pack(_PACK).detector.read(), free_size=True)).graph
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    wanted = [node for node in graph.node if node.op_type == "Conv" and _UNUSED not in node.input[1]]
    values = [constants[name].ravel() for node in wanted for name in node.input[1:]]
    return np.concatenate(values).astype("<f2").tobytes()


def browser_weights_key() -> str:
    """A key that changes with the bytes of `browser_weights`, and is known without making them."""
    return f"{open_pack(_PACK).detector.sha256}-{BROWSER_DETECTOR_VERSION}"
