"""Mixed precision as a property of the ONNX file: heavy operators in FP16, and FP32 for operators that overflow or lose
digits in FP16.

This pass of our own is a page long, gives the same graph for the same file and needs no samples. ModelOpt's AutoCast
0.47 came as near to FP32 on MobileFaceNet (lowest cosine 0.99994 both, 16 faces), but needs many packages, and computed
the embedding's length in FP16, too.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

import numpy as np

from edgefr.errors import require_extra
from edgefr.io.onnx_file import HEAVY

if TYPE_CHECKING:
    import onnx

MAX_FP16 = 65504.0
"""The largest FP16 number. A node with larger weights stays in FP32."""

_ARITHMETIC = ("Add", "AveragePool", "Clip", "Div", "MaxPool", "Mul", "Neg", "PRelu", "Relu", "Sub")
_SHAPE = ("Concat", "Expand", "Flatten", "Pad", "Reshape", "Squeeze", "Transpose", "Unsqueeze")
_INDEX = ("Gather", "Slice", "Split")
FOLLOWERS = frozenset((*_ARITHMETIC, *_SHAPE, *_INDEX))
"""Operators that compute in FP16 if all their inputs are FP16. Operators that are neither here nor in HEAVY stay in
FP32: LayerNormalization, Softmax, reductions, Erf, the division by the length ..."""


def fp16_from_fp32(model: onnx.ModelProto, keep: Collection[str] = ()) -> onnx.ModelProto:
    """Convert a copy of an FP32 graph (`onnx_graph.read_graph`); nodes named in `keep` stay in FP32.

    Inputs and outputs keep names, types and shapes, and nodes keep their names.
    """
    copy = type(model)()
    copy.CopyFrom(model)
    _Pass(copy.graph, frozenset(keep)).run()
    require_extra("onnx", "train").checker.check_model(copy)
    return copy


class _Pass:
    """One pass over the nodes in their order. `half` and `floats` are the names of the FP16 and FP32 tensors so far."""

    def __init__(self, graph: onnx.GraphProto, keep: frozenset[str]) -> None:
        self.onnx = require_extra("onnx", "train")
        self.graph, self.keep = graph, keep
        types = self.onnx.TensorProto
        self.weights = {tensor.name: tensor for tensor in graph.initializer if tensor.data_type == types.FLOAT}
        self.half: set[str] = set()
        inputs = (value.name for value in graph.input if value.type.tensor_type.elem_type == types.FLOAT)
        self.floats: set[str] = {*self.weights, *inputs}
        self.casts: dict[str, str] = {}
        self.nodes: list[onnx.NodeProto] = []
        self.outputs = {value.name for value in graph.output}

    def run(self) -> None:
        for node in list(self.graph.node):
            self._convert(node) if self._can_convert(node) else self._keep_fp32(node)
        used = {name for node in self.nodes for name in node.input}
        kept = [tensor for tensor in self.graph.initializer if tensor.name in used]
        del self.graph.node[:], self.graph.initializer[:], self.graph.value_info[:]
        self.graph.node.extend(self.nodes)
        self.graph.initializer.extend(
            [*kept, *(self._half_weight(name) for name in self.casts if name in self.weights)]
        )

    def _can_convert(self, node: onnx.NodeProto) -> bool:
        if node.name in self.keep or not self._fits(node):
            return False
        if node.op_type in HEAVY:
            return True
        fp32_inputs = [name for name in node.input if name in self.floats and name not in self.weights]
        return node.op_type in FOLLOWERS and not fp32_inputs and any(name in self.half for name in node.input)

    def _fits(self, node: onnx.NodeProto) -> bool:
        weights = [self.onnx.numpy_helper.to_array(self.weights[name]) for name in node.input if name in self.weights]
        return all(float(np.abs(weight).max(initial=0)) <= MAX_FP16 for weight in weights)

    def _convert(self, node: onnx.NodeProto) -> None:
        for index, name in enumerate(node.input):
            if name in self.floats:
                node.input[index] = self._cast(name, self.onnx.TensorProto.FLOAT16, "half")
        self.nodes.append(node)
        self.half.update(node.output)
        for index, name in enumerate(node.output):
            if name in self.outputs:  # the outputs of the file keep their names and FP32
                node.output[index] = f"{name}_inside"
                self.half.add(node.output[index])
                self.half.remove(name)
                self.floats.add(name)
                self._append_cast(node.output[index], name, self.onnx.TensorProto.FLOAT)

    def _keep_fp32(self, node: onnx.NodeProto) -> None:
        for index, name in enumerate(node.input):
            if name in self.half:
                node.input[index] = self._cast(name, self.onnx.TensorProto.FLOAT, "float")
        self.nodes.append(node)
        if self._gives_floats(node):
            self.floats.update(node.output)

    def _gives_floats(self, node: onnx.NodeProto) -> bool:
        if node.op_type == "Cast":
            return any(entry.i == self.onnx.TensorProto.FLOAT for entry in node.attribute if entry.name == "to")
        if node.op_type == "Constant":
            return any(entry.t.data_type == self.onnx.TensorProto.FLOAT for entry in node.attribute)
        typed = node.op_type not in ("Shape", "ArgMax", "Equal", "Less", "Greater")
        return typed and any(name in self.floats or name in self.casts.values() for name in node.input)

    def _cast(self, name: str, to: int, suffix: str) -> str:
        """The name of the same tensor in the other type, which is created once; of a weight it is a weight."""
        if name not in self.casts:
            self.casts[name] = f"{name}_{suffix}"
            if name not in self.weights:
                self._append_cast(name, self.casts[name], to)
        return self.casts[name]

    def _append_cast(self, source: str, target: str, to: int) -> None:
        self.nodes.append(self.onnx.helper.make_node("Cast", [source], [target], name=f"cast_{target}", to=to))

    def _half_weight(self, name: str) -> onnx.TensorProto:
        weight = self.onnx.numpy_helper.to_array(self.weights[name])
        half: onnx.TensorProto = self.onnx.numpy_helper.from_array(weight.astype(np.float16), self.casts[name])
        return half
