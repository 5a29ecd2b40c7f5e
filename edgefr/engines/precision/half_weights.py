"""Weights that are stored in FP16 and computed with in FP32: a file of half the size.

Each weight becomes an FP16 tensor and a Cast to FP32. Runtimes compute the cast once, when they open the file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from edgefr.errors import EdgefrError, require_extra

if TYPE_CHECKING:
    import onnx

SMALLEST = 1024
"""Elements of the smallest weight that is halved. Biases and constants are few and need their precision."""

_FLOAT, _FLOAT16 = 1, 10  # of TensorProto.DataType


def halve_weights(model: onnx.ModelProto) -> None:
    """Store the large FP32 weights of a graph in FP16.

    Args:
        model: The graph, which is changed.

    Raises:
        EdgefrError: A weight is too large for FP16.
    """
    library: Any = require_extra("onnx", "train")
    casts = []
    for tensor in model.graph.initializer:
        if tensor.data_type == _FLOAT and np.prod(tensor.dims) >= SMALLEST:
            with np.errstate(over="ignore"):
                half = library.numpy_helper.to_array(tensor).astype(np.float16)
            if not np.isfinite(half).all():
                found, fix = f"a larger one in {tensor.name}", "leave out --half-weights"
                raise EdgefrError("weights that FP16 can hold, below 65,504", found, fix)
            name = tensor.name
            casts.append(library.helper.make_node("Cast", [f"{name}_half"], [name], f"{name}_widened", to=_FLOAT))
            tensor.CopyFrom(library.numpy_helper.from_array(half, f"{name}_half"))
    nodes = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend([*casts, *nodes])


def widen_weights(model: onnx.ModelProto) -> None:
    """Undo `halve_weights`, for conversions, which look for weights among the initialisers.

    Args:
        model: The graph, which is changed.
    """
    library: Any = require_extra("onnx", "train")
    halves = {tensor.name: tensor for tensor in model.graph.initializer if tensor.data_type == _FLOAT16}
    casts = [
        node
        for node in model.graph.node
        if node.op_type == "Cast" and node.input[0] in halves and node.attribute[0].i == _FLOAT
    ]
    for cast in casts:
        weight = library.numpy_helper.to_array(halves[cast.input[0]]).astype(np.float32)
        model.graph.initializer.append(library.numpy_helper.from_array(weight, cast.output[0]))
        model.graph.node.remove(cast)
