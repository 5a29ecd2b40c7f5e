"""Reads an ONNX file for a conversion, and runs a graph in memory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgefr.engines.precision.half_weights import widen_weights
from edgefr.errors import WrongModelError, require_extra
from edgefr.runtimes.base import check_onnx_file

if TYPE_CHECKING:
    import onnx


def read_graph(path: Path) -> onnx.ModelProto:
    """Read an ONNX file. Every node gets a unique name, and pixels become floats before any other operator.

    Weights that are stored in FP16 to be computed with in FP32 become FP32. Weights that no node takes are left out:
    published nets hold some, and onnxruntime warns of each on stderr.

    Raises:
        WrongModelError: The file is missing or is not an ONNX model.
    """
    check_onnx_file(path, "a conversion")
    library = require_extra("onnx", "train")
    try:
        model: onnx.ModelProto = library.load(path)
        library.checker.check_model(model)
    except Exception as error:  # protobuf's and onnx's own exceptions share no narrower base
        raise WrongModelError(
            f"an ONNX model in {path}",
            "another or a damaged file",
            "export it again, or get the file again from its publisher",
        ) from error
    widen_weights(model)
    _drop_unused_weights(model.graph)
    _name_nodes(model)
    _cast_first(model)
    return model


def _drop_unused_weights(graph: onnx.GraphProto) -> None:
    used = {value.name for value in (*graph.output, *graph.input)} | set(_names_taken(graph))
    kept = [tensor for tensor in graph.initializer if tensor.name in used]
    if len(kept) < len(graph.initializer):
        copies = [type(tensor).FromString(tensor.SerializeToString()) for tensor in kept]
        del graph.initializer[:]
        graph.initializer.extend(copies)


def _names_taken(graph: onnx.GraphProto) -> Iterator[str]:
    """The inputs of all nodes, also in subgraphs, which may use tensors of the graph around them."""
    for node in graph.node:
        yield from node.input
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                yield from (value.name for value in inner.output)
                yield from _names_taken(inner)


def onnx_session(model: onnx.ModelProto, optimisation: Any) -> Any:
    """Open a graph on the processor; `optimisation` is a member of onnxruntime's `GraphOptimizationLevel`."""
    library = require_extra("onnxruntime", "train")
    options = library.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = optimisation
    return library.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def _name_nodes(model: onnx.ModelProto) -> None:
    """Give every node a unique name, by which a conversion can refer to it."""
    names: set[str] = set()
    for number, node in enumerate(model.graph.node):
        if not node.name or node.name in names:
            node.name = f"{node.op_type}_{number}"
        names.add(node.name)


def _cast_first(model: onnx.ModelProto) -> None:
    """Cast the picture to floats before it is transposed, because TensorRT cannot transpose uint8."""
    pixels = {value.name for value in model.graph.input if value.type.tensor_type.elem_type == 2}  # uint8
    nodes = list(model.graph.node)
    for place, node in enumerate(nodes):
        users = [other for other in nodes if node.output[0] in other.input]
        if node.op_type == "Transpose" and node.input[0] in pixels and [user.op_type for user in users] == ["Cast"]:
            cast = users[0]
            moved, result = node.output[0], cast.output[0]
            cast.input[0], cast.output[0] = node.input[0], f"{moved}_floats"
            node.input[0], node.output[0] = f"{moved}_floats", result
            nodes.remove(cast)
            nodes.insert(place, cast)
            break
    del model.graph.node[:]
    model.graph.node.extend(nodes)
