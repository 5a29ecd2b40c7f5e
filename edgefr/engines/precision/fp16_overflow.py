"""Finds the nodes of an FP16 graph that overflow on real faces.

Comparing the outputs on a processor does not find them: ONNX Runtime computes FP16 nodes in FP32 there and omits the
rounding between two of them, so that a graph that overflows on a GPU gives correct outputs. Instead every FP16 tensor
is checked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgefr.engines.precision.onnx_graph import onnx_session
from edgefr.errors import require_extra
from edgefr.types import INPUT_NAME, Faces

if TYPE_CHECKING:
    import onnx

BATCH = 4
"""Few faces at once, because all tensors of the graph are in memory."""


def find_overflowing_nodes(model: onnx.ModelProto, faces: Faces) -> tuple[str, ...]:
    """Find the nodes where an overflow begins on any of (N, 112, 112, 3) faces, in the order of the graph.

    Their inputs are finite, but an FP16 output or the FP16 copy of an input is not.
    """
    onnx, library = require_extra("onnx", "train"), require_extra("onnxruntime", "train")
    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    known = {value.name for value in watched.graph.output}
    names = [name for node in watched.graph.node for name in node.output if name]
    watched.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in known)
    session = onnx_session(watched, library.GraphOptimizationLevel.ORT_DISABLE_ALL)
    infinite: set[str] = set()
    infinite_half: set[str] = set()
    for start in range(0, len(faces), BATCH):
        for name, array in zip(names, session.run(names, {INPUT_NAME: faces[start : start + BATCH]}), strict=True):
            if array.dtype in (np.float16, np.float32) and not np.isfinite(array).all():
                infinite.add(name)
                if array.dtype == np.float16:
                    infinite_half.add(name)
    first = [
        node
        for node in model.graph.node
        if infinite_half.intersection(node.output) and not infinite.intersection(node.input)
    ]
    copied = {name for node in first if node.op_type == "Cast" for name in node.output}
    return tuple(
        node.name
        for node in model.graph.node
        if (node in first and node.op_type != "Cast") or copied.intersection(node.input)
    )
