"""Where an FP16 graph leaves FP16's range on real faces.

A comparison of answers on a processor cannot tell: ONNX Runtime computes FP16 nodes in FP32 and drops the rounding
between two of them, so that a graph which overflows on a GPU answers rightly there. Every FP16 tensor is looked at
instead.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgefr.errors import require_extra
from edgefr.types import INPUT_NAME, Faces

if TYPE_CHECKING:
    import onnx

BATCH = 4
"""Faces at once: every tensor of the graph is kept until it has been looked at."""


def overflowing(model: onnx.ModelProto, faces: Faces) -> tuple[str, ...]:
    """Names of the nodes with which a number leaves FP16's range for any of (N, 112, 112, 3) faces, in the graph's
    order: their inputs are finite, and an FP16 output or the FP16 copy of an input is not."""
    onnx, library = require_extra("onnx", "train"), require_extra("onnxruntime", "train")
    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    known = {value.name for value in watched.graph.output}
    names = [name for node in watched.graph.node for name in node.output if name]
    watched.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in known)
    options = library.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = library.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = library.InferenceSession(watched.SerializeToString(), options, providers=["CPUExecutionProvider"])
    lost: set[str] = set()
    lost_half: set[str] = set()
    for start in range(0, len(faces), BATCH):
        for name, array in zip(names, session.run(names, {INPUT_NAME: faces[start : start + BATCH]}), strict=True):
            if array.dtype in (np.float16, np.float32) and not np.isfinite(array).all():
                lost.add(name)
                if array.dtype == np.float16:
                    lost_half.add(name)
    first = [
        node for node in model.graph.node if lost_half.intersection(node.output) and not lost.intersection(node.input)
    ]
    copied = {name for node in first if node.op_type == "Cast" for name in node.output}
    return tuple(
        node.name
        for node in model.graph.node
        if (node in first and node.op_type != "Cast") or copied.intersection(node.input)
    )
