"""Running a network: a port with two implementations, OpenVINO and ONNX Runtime, both on the processor.

Every network is run with one thread per call and a batch of one, so that as many photos as cores are analysed
side by side and no photo's result depends on its neighbours. (Batches of faces were tried: on one thread they
take as long per face as single ones, with either runtime.)
"""

import importlib.util
from collections.abc import Sequence
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from facepass.schemas.errors import ErrorCode, PermanentError

__all__ = [
    "Network",
    "Runtime",
    "Tensor",
    "open_runtime",
]

Tensor = NDArray[np.float32]


class Network(Protocol):
    """A compiled network with one input. Safe to call from several threads at once."""

    def run(self, tensor: Tensor) -> Sequence[Tensor]:
        """The outputs, in the order asked for when the network was compiled. The arrays are the caller's."""
        ...


class Runtime(Protocol):
    """A compiler of networks."""

    name: str

    def compile(self, model: bytes, outputs: Sequence[str], *, exact: bool) -> Network:
        """Compile an ONNX model.

        Args:
            model: the ONNX file's bytes, with one input.
            outputs: names of the outputs to return.
            exact: compute in fp32; else the runtime may use bf16 where the processor has it.
        """
        ...


def open_runtime(choice: Literal["auto", "openvino", "onnxruntime"], *, threads: int) -> Runtime:
    """The runtime of that name; `auto` is OpenVINO where it is installed.

    Args:
        choice: as in the setting `FACEPASS_RUNTIME`.
        threads: how many calls are to run at once.

    Raises:
        PermanentError: `invalid_setting` if it is not installed.
    """
    if choice == "auto":
        choice = "openvino" if importlib.util.find_spec("openvino") else "onnxruntime"
    if importlib.util.find_spec(choice) is None:
        raise PermanentError(
            ErrorCode.INVALID_SETTING,
            f"FACEPASS_RUNTIME: the package {choice} is not installed",
            setting="runtime",
        )
    if choice == "openvino":
        from facepass.embedding.runtimes.with_openvino import OpenVinoRuntime  # noqa: PLC0415

        return OpenVinoRuntime(threads=threads)
    from facepass.embedding.runtimes.with_onnxruntime import OnnxRuntime  # noqa: PLC0415

    return OnnxRuntime()
