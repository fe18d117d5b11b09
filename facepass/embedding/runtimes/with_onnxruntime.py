"""ONNX Runtime on the processor."""

import os
from collections.abc import Sequence

from facepass.embedding.runtimes import Network, Tensor

# Importing onnxruntime (1.31) makes a device id and a database of events in ~/.cache/Microsoft, for a telemetry
# service. FacePass reports to nobody; the library reads this while it is loaded.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import onnxruntime


class OnnxRuntime:
    """The runtime ONNX Runtime, always fp32."""

    name = "onnxruntime"

    def compile(self, model: bytes, outputs: Sequence[str], *, exact: bool) -> Network:
        """The same as `Runtime.compile`; `exact` changes nothing."""
        del exact
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        return _Session(session, outputs)


class _Session:
    """A session runs in the thread that calls it, and may be called by several at once."""

    def __init__(self, session: onnxruntime.InferenceSession, outputs: Sequence[str]) -> None:
        self._session = session
        self._outputs = list(outputs)
        self._input = session.get_inputs()[0].name

    def run(self, tensor: Tensor) -> Sequence[Tensor]:
        results: Sequence[Tensor] = self._session.run(self._outputs, {self._input: tensor})
        return results
