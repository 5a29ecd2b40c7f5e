"""Small liveness nets whose answer is known: the mean of one channel of the window decides."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

SIDE = 8


def mean_net(path: Path, spec: dict[str, Any] | None, channel: int = 0, logits: bool = True, classes: int = 3) -> Path:
    """Write a net that takes floats (1, 3, 8, 8) and gives (1, classes), and beside it what it expects.

    Class 1 has 20 times the mean of a channel minus 0.5, and the others 0. Without `logits`, class 1 has the mean
    itself, and class 0 the rest. A net of one class has class 1 alone."""
    from onnx import TensorProto, helper, numpy_helper, save

    pick, shift, bright = np.zeros((3, classes), np.float32), np.zeros(classes, np.float32), min(1, classes - 1)
    pick[channel, bright] = 20.0 if logits else 1.0
    shift[bright] = -10.0 if logits else 0.0
    if not logits:
        pick[channel, 0], shift[0] = -1.0, 1.0
    nodes = [
        helper.make_node("ReduceMean", ["input"], ["means"], axes=[2, 3], keepdims=0),
        helper.make_node("MatMul", ["means", "pick"], ["picked"]),
        helper.make_node("Add", ["picked", "shift"], ["output"]),
    ]
    graph = helper.make_graph(
        nodes,
        "mean",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, [1, classes])],
        [numpy_helper.from_array(pick, "pick"), numpy_helper.from_array(shift, "shift")],
    )
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    if spec is not None:
        path.with_suffix(".toml").write_text("".join(f"{key} = {json.dumps(value)}\n" for key, value in spec.items()))
    return path
