"""OpenVINO on the processor."""

import queue
import sys
from collections.abc import Sequence

from facepass.embedding.runtimes import Network, Tensor

# Importing openvino reports the import to Google Analytics through this package (seen: a look-up of
# www.google-analytics.com, and a file in ~/intel). FacePass connects to nothing it was not told to: with the
# package hidden, openvino takes its own silent stand-in.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]

import openvino  # noqa: E402


class OpenVinoRuntime:
    """The runtime OpenVINO: fp32, or bf16 where the processor has it and the network may use it."""

    name = "openvino"

    def __init__(self, *, threads: int) -> None:
        self._threads = threads
        self._core = openvino.Core()
        self._bf16 = "BF16" in self._core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")

    def compile(self, model: bytes, outputs: Sequence[str], *, exact: bool) -> Network:
        """The same as `Runtime.compile`.

        OpenVINO's own cache of compiled models is left off: it saves 0.3 s of a start, but loads a file with
        flipped bytes in the weights without noticing (tried), and so would make wrong vectors.
        """
        compiled = self._core.compile_model(
            self._core.read_model(model),
            "CPU",
            {
                "NUM_STREAMS": self._threads,
                "INFERENCE_NUM_THREADS": self._threads,
                "INFERENCE_PRECISION_HINT": "bf16" if self._bf16 and not exact else "f32",
                "ENABLE_CPU_PINNING": False,
            },
        )
        return _CompiledModel(compiled, outputs, requests=self._threads)


class _CompiledModel:
    """A fixed number of inference requests, each used by one caller at a time; a caller too many waits."""

    def __init__(self, compiled: openvino.CompiledModel, outputs: Sequence[str], *, requests: int) -> None:
        self._outputs = [compiled.output(name) for name in outputs]
        self._requests: queue.LifoQueue[openvino.InferRequest] = queue.LifoQueue()
        for _ in range(requests):
            self._requests.put(compiled.create_infer_request())

    def run(self, tensor: Tensor) -> Sequence[Tensor]:
        request = self._requests.get()
        try:
            results = request.infer({0: openvino.Tensor(tensor, shared_memory=True)})
            return [results[output] for output in self._outputs]
        finally:
            self._requests.put(request)
