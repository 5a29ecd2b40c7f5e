"""Rewrites an FP32 graph for pnnx, which converts it for ncnn: one picture, float pixels, reductions over two axes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from edgefr.errors import require_extra
from edgefr.types import INPUT_NAME

if TYPE_CHECKING:
    import onnx

REDUCTIONS = ("ReduceMean", "ReduceL2", "ReduceSum", "ReduceMax", "ReduceMin")

UNSQUEEZE_INPUT = 13
"""The operator set from which on the axes of Unsqueeze and Squeeze are an input and no attribute."""


def pnnx_ready(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of a graph that pnnx converts rightly. Its input `image` is (1, 112, 112, 3) float32 with values 0 to 255.

    Args:
        model: The graph, as `onnx_graph.read_graph` gives it: pixels are cast to floats first of all.
    """
    copy = type(model)()
    copy.CopyFrom(model)
    _fix_batch((*copy.graph.input, *copy.graph.output))
    _remove_casts(copy.graph)
    _replace_means(copy.graph)
    _widen_reductions(copy)
    return copy


def _fix_batch(values: Iterable[onnx.ValueInfoProto]) -> None:
    for value in values:
        batch = value.type.tensor_type.shape.dim[0]
        batch.ClearField("dim_param")
        batch.dim_value = 1


def _remove_casts(graph: onnx.GraphProto) -> None:
    """Take floats instead of uint8, which ncnn does not have. Shape, the only other user of pixels, does not care."""
    casts = [node for node in graph.node if node.op_type == "Cast" and node.input[0] == INPUT_NAME]
    picture = next(value for value in graph.input if value.name == INPUT_NAME)
    picture.type.tensor_type.elem_type = 1  # float32
    floats = {cast.output[0] for cast in casts}
    for cast in casts:
        graph.node.remove(cast)
    for node in graph.node:
        for place, name in enumerate(node.input):
            if name in floats:
                node.input[place] = INPUT_NAME


def _replace_means(graph: onnx.GraphProto) -> None:
    """Compute the mean of several tensors as their scaled sum: pnnx makes an operator of Mean that ncnn lacks."""
    onnx = require_extra("onnx", "train")
    nodes = list[Any]()
    for node in graph.node:
        nodes.append(type(node).FromString(node.SerializeToString()))
        if node.op_type == "Mean":
            result, total, share = node.output[0], f"{node.name}_sum", f"{node.name}_share"
            nodes[-1].op_type, nodes[-1].output[0] = "Sum", total
            graph.initializer.append(onnx.numpy_helper.from_array(np.array(1 / len(node.input), np.float32), share))
            nodes.append(onnx.helper.make_node("Mul", [total, share], [result], f"{node.name}_scaled"))
    del graph.node[:]
    graph.node.extend(nodes)


def _widen_reductions(model: onnx.ModelProto) -> None:
    """Give each reduction over one axis a second axis of length 1.

    pnnx (20261020) drops the only axis of a reduction that it reads from an ONNX file, so that ncnn reduces nothing.
    """
    onnx = require_extra("onnx", "train")
    inferred = onnx.shape_inference.infer_shapes(model).graph
    ranks = {
        value.name: len(value.type.tensor_type.shape.dim)
        for value in (*inferred.value_info, *inferred.input, *inferred.output)
    }
    opset = next(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
    graph, nodes = model.graph, list[Any]()
    constants = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        axes = _axes(node, constants) if node.op_type in REDUCTIONS else ()
        nodes += _widened(node, axes[0] % ranks[node.input[0]], graph, opset) if len(axes) == 1 else [node]
    copies = [type(node).FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(copies)


def _axes(node: onnx.NodeProto, constants: dict[str, onnx.TensorProto]) -> list[int]:
    """The axes of a reduction: an input from operator set 18 on, an attribute before."""
    onnx = require_extra("onnx", "train")
    if len(node.input) > 1:
        tensor = constants.get(node.input[1])
        return [] if tensor is None else [int(axis) for axis in onnx.numpy_helper.to_array(tensor)]
    return [int(axis) for attribute in node.attribute if attribute.name == "axes" for axis in attribute.ints]


def _widened(node: onnx.NodeProto, axis: int, graph: onnx.GraphProto, opset: int) -> list[onnx.NodeProto]:
    """(..., N, ...) -> (..., N, 1, ...) -> (..., ...), or (..., 1, 1, ...) -> (..., 1, ...) with `keepdims`.

    Squeeze takes the second axis away again. With Unsqueeze after a reduction without `keepdims`, the result (B, 1) got
    two axes in ncnn, which has no batch: whatever was divided by it had one axis too many for a later reduction.
    """
    helper: Any = require_extra("onnx", "train").helper
    keep = all(attribute.i for attribute in node.attribute if attribute.name == "keepdims")
    source, result, wide, short = node.input[0], node.output[0], f"{node.name}_wide", f"{node.name}_short"
    before = helper.make_node("Unsqueeze", [source], [wide], f"{node.name}_before")
    reduced = helper.make_node(node.op_type, [wide], [short if keep else result], node.name, keepdims=int(keep))
    after = helper.make_node("Squeeze", [short], [result], f"{node.name}_after")
    _set_axes(before, [axis + 1], graph, as_input=opset >= UNSQUEEZE_INPUT)
    _set_axes(reduced, [axis, axis + 1], graph, as_input=len(node.input) > 1)
    _set_axes(after, [axis + 1], graph, as_input=opset >= UNSQUEEZE_INPUT)
    return [before, reduced, after] if keep else [before, reduced]


def _set_axes(node: onnx.NodeProto, axes: list[int], graph: onnx.GraphProto, as_input: bool) -> None:
    onnx = require_extra("onnx", "train")
    if not as_input:
        node.attribute.append(onnx.helper.make_attribute("axes", axes))
        return
    name = f"{node.name}_axes"
    graph.initializer.append(onnx.numpy_helper.from_array(np.array(axes, np.int64), name))
    node.input.append(name)
