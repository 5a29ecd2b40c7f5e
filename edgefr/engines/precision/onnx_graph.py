"""What every conversion of an ONNX file starts with."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from edgefr.errors import EdgefrError, require_extra
from edgefr.runtimes.base import model_file

if TYPE_CHECKING:
    import onnx


def read_graph(path: Path) -> onnx.ModelProto:
    """An ONNX file, each node with a name of its own, its pixels made floats before anything else.

    Raises:
        EdgefrError: there is none, or it cannot be read.
    """
    model_file(path, ".onnx", "a conversion")
    library = require_extra("onnx", "train")
    try:
        model: onnx.ModelProto = library.load(path)
        library.checker.check_model(model)
    except Exception as error:  # protobuf's and onnx's own exceptions share no narrower base
        raise EdgefrError(
            f"an ONNX model in {path}", "another or a damaged file", "make it again with `edgefr export`"
        ) from error
    _name_nodes(model)
    _cast_first(model)
    return model


def _name_nodes(model: onnx.ModelProto) -> None:
    """So that a recipe can speak of every node."""
    seen: set[str] = set()
    for number, node in enumerate(model.graph.node):
        if not node.name or node.name in seen:
            node.name = f"{node.op_type}_{number}"
        seen.add(node.name)


def _cast_first(model: onnx.ModelProto) -> None:
    """TensorRT converts uint8 to floats but moves no bytes: a Transpose of the picture is made one of floats."""
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
