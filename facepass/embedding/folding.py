"""Block-quantised ONNX files to plain fp32 ones that every runtime runs at full speed.

Such a file stores each weight as int8 with scales, and a `DequantizeLinear` (mostly with a `Reshape` behind it)
that computes it anew in every run; ONNX Runtime does not even start with YuNet stored so, and runs SFace at half
speed. Here these constants are computed once. Old exporters also list weights among the graph's inputs, which
keeps a runtime from treating them as constants: only real inputs stay.
"""

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

FOLDING_VERSION = 1
"""Part of the cache's key: raise it when the folded file changes."""

Array = NDArray[np.generic]


def fold(data: bytes, *, free_size: bool) -> bytes:
    """Fold constant dequantisation; free the batch axis, with `free_size` also the picture's height and width.

    Raises:
        ValueError: the bytes are no ONNX model, or not one whose constants can be folded.
    """
    try:
        model = onnx.load_from_string(data)
    except Exception as exc:  # protobuf's own exception types differ between its implementations
        raise ValueError("not an ONNX model") from exc
    graph = model.graph
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    folded: dict[str, Array] = {}
    remaining = []
    for node in graph.node:
        value = _fold_node(node, constants, folded)
        if value is None:
            remaining.append(node)
        else:
            folded[node.output[0]] = constants[node.output[0]] = value
    _replace(graph.node, remaining)
    _keep_constants(graph, folded)
    _free_axes(graph, free_size=free_size)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString(deterministic=True))


def _fold_node(node: onnx.NodeProto, constants: dict[str, Array], folded: dict[str, Array]) -> Array | None:
    """The value of a node that only unpacks a weight; None for any other."""
    if node.op_type == "DequantizeLinear" and all(name in constants for name in node.input):
        attributes = {attribute.name: attribute.i for attribute in node.attribute}
        quantised, scale, *zero = (constants[name] for name in node.input)
        return _dequantise(quantised, scale, zero[0] if zero else None, **attributes)
    if node.op_type == "Reshape" and node.input[0] in folded and node.input[1] in constants:
        return folded[node.input[0]].reshape(constants[node.input[1]])
    return None


def _dequantise(
    quantised: Array, scale: Array, zero: Array | None, *, axis: int = 1, block_size: int = 0, **_: int
) -> Array:
    """The weight: (quantised - zero) * scale, a scale for `block_size` neighbours along `axis` (ONNX opset 21)."""

    def spread(values: Array) -> Array:
        if block_size:
            repeated = np.repeat(values, block_size, axis=axis)
            return repeated[tuple(slice(length) for length in quantised.shape)]
        shape = [1] * quantised.ndim
        if values.ndim:
            shape[axis] = values.size
        return values.reshape(shape)

    offset = np.float32(0) if zero is None else spread(zero).astype(np.float32)
    return (quantised.astype(np.float32) - offset) * spread(scale).astype(np.float32)


def _keep_constants(graph: onnx.GraphProto, folded: dict[str, Array]) -> None:
    """Keep only constants that some node still reads, and only inputs that are no constants."""
    used = {name for node in graph.node for name in node.input}
    kept = [tensor for tensor in graph.initializer if tensor.name in used]
    kept += [numpy_helper.from_array(value, name) for name, value in folded.items() if name in used]
    _replace(graph.initializer, kept)
    constant = {tensor.name for tensor in kept}
    _replace(graph.input, [value for value in graph.input if value.name in used - constant])
    _replace(graph.value_info, [])


def _free_axes(graph: onnx.GraphProto, *, free_size: bool) -> None:
    for value in (*graph.input, *graph.output):
        dimensions = value.type.tensor_type.shape.dim
        dimensions[0].dim_param = "batch"
        if free_size:
            for position, dimension in enumerate(dimensions[1:], 1):
                if value in graph.output or position > 1:
                    dimension.dim_param = f"{value.name}_{position}"
    for tensor in graph.initializer:
        if tensor.data_type == onnx.TensorProto.INT64 and list(tensor.dims) == [3]:
            _free_reshape(tensor)


def _free_reshape(tensor: onnx.TensorProto) -> None:
    """A target shape (1, -1, n) was exported for a batch of one; 0 means the input's own length."""
    shape = numpy_helper.to_array(tensor)
    if shape[0] == 1 and shape[1] == -1:
        tensor.CopyFrom(numpy_helper.from_array(np.array([0, -1, shape[2]], np.int64), tensor.name))


def _replace(field: "list[object]", values: "list[object]") -> None:
    del field[:]
    field.extend(values)
