"""Rewrites the graph of a published recogniser: one operator set, one input, any batch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from edgefr.errors import WrongModelError, require_extra
from edgefr.runtimes.base import last_line

if TYPE_CHECKING:
    from pathlib import Path

    import onnx

OPSET, IR_VERSION = 18, 8
"""Of every converted graph, as `edgefr export` writes them."""

PIXELS, BATCH = "pixels", "batch"
"""Name of the input of a core graph, and of its first axis."""


def upgrade_opset(model: onnx.ModelProto, path: Path) -> onnx.ModelProto:
    """The graph in `OPSET`; `path` is for messages. Raises WrongModelError if it cannot be converted."""
    opset = next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 1)
    if opset == OPSET:
        return model
    from onnx import version_converter

    try:
        converted: onnx.ModelProto = version_converter.convert_version(model, OPSET)
    except Exception as error:  # the converter raises RuntimeError and its own ConvertError
        raise WrongModelError(
            f"a graph that can be converted from operator set {opset} to {OPSET} in {path}",
            f"one that onnx cannot convert ({last_line(error)})",
            f"export the model again with operator set {OPSET}",
        ) from error
    return converted


def with_free_batch(
    model: onnx.ModelProto, picture: str, outputs: tuple[str, ...], channels_last: bool, size: tuple[int, int]
) -> onnx.ModelProto:
    """The graph with one input `PIXELS` and a free batch, and without weights as inputs, shapes and texts."""
    library = require_extra("onnx", "onnx")
    freed = library.ModelProto()
    freed.CopyFrom(model)
    model, graph = freed, freed.graph
    values = {value.name: value for value in (*graph.input, *graph.output)}
    shape = [BATCH, *size, 3] if channels_last else [BATCH, 3, *size]
    element = values[picture].type.tensor_type.elem_type
    renamed = {picture: PIXELS}
    kept = [
        library.helper.make_tensor_value_info(name, values[name].type.tensor_type.elem_type, None) for name in outputs
    ]
    for node in graph.node:
        node.input[:] = [renamed.get(name, name) for name in node.input]
        node.doc_string = ""
        del node.metadata_props[:]
    _free_reshapes(graph)
    del graph.input[:], graph.output[:], graph.value_info[:], model.metadata_props[:], graph.metadata_props[:]
    graph.input.append(library.helper.make_tensor_value_info(PIXELS, element, shape))
    graph.output.extend(kept)
    graph.doc_string = model.doc_string = ""
    del graph.quantization_annotation[:]
    remove_unused(graph)
    model.ir_version = IR_VERSION
    return model


def picture_by_picture(
    model: onnx.ModelProto, picture: str, outputs: tuple[str, ...], channels_last: bool, size: tuple[int, int]
) -> onnx.ModelProto:
    """The same interface around a net that works for one picture only: a Scan gives it one after the other."""
    library = require_extra("onnx", "onnx")
    helper, graph = library.helper, model.graph
    element = next(value for value in graph.input if value.name == picture).type.tensor_type.elem_type
    kinds = {value.name: value.type.tensor_type.elem_type for value in graph.output}
    shape = [*size, 3] if channels_last else [3, *size]
    axis = library.numpy_helper.from_array(np.array([0], np.int64), "picture_axis")
    body = helper.make_graph(
        [
            helper.make_node("Unsqueeze", ["picture", "picture_axis"], [picture]),
            *graph.node,
            *(helper.make_node("Squeeze", [name, "picture_axis"], [f"{name}_of_picture"]) for name in outputs),
        ],
        "one_picture",
        [helper.make_tensor_value_info("picture", element, shape)],
        [helper.make_tensor_value_info(f"{name}_of_picture", kinds[name], None) for name in outputs],
        [*graph.initializer, axis],
    )
    scan = helper.make_node("Scan", [PIXELS], list(outputs), body=body, num_scan_inputs=1)
    whole = helper.make_graph(
        [scan],
        "pictures",
        [helper.make_tensor_value_info(PIXELS, element, [BATCH, *shape])],
        [helper.make_tensor_value_info(name, kinds[name], None) for name in outputs],
    )
    core: onnx.ModelProto = helper.make_model(whole, opset_imports=[helper.make_opsetid("", OPSET)])
    core.ir_version = IR_VERSION
    return core


def _free_reshapes(graph: onnx.GraphProto) -> None:
    """Let reshapes of pictures to a batch of 1 keep the batch they get."""
    from onnx import numpy_helper

    constants = {tensor.name: tensor for tensor in graph.initializer}
    constants |= {
        node.output[0]: attribute.t
        for node in graph.node
        if node.op_type == "Constant"
        for attribute in node.attribute
        if attribute.name == "value"
    }
    reached = {PIXELS}
    for node in graph.node:
        if not reached.intersection(node.input):
            continue
        reached.update(node.output)
        if node.op_type == "Reshape" and (tensor := constants.get(node.input[1])) is not None:
            target = numpy_helper.to_array(tensor)
            if len(target) and target[0] == 1:
                freed = np.concatenate([[0], target[1:]]).astype(np.int64)
                name = f"{node.output[0]}_with_any_batch"
                graph.initializer.append(numpy_helper.from_array(freed, name))
                node.input[1] = name


def remove_unused(graph: onnx.GraphProto) -> None:
    """Remove the nodes and weights that no output depends on."""
    needed = {value.name for value in graph.output}
    kept = []
    for node in reversed(graph.node):
        if needed.intersection(node.output):
            kept.append(node)
            needed.update(node.input)
            needed.update(inner_names(node))
    weights = [tensor for tensor in graph.initializer if tensor.name in needed]
    del graph.node[:], graph.initializer[:]
    graph.node.extend(reversed(kept))
    graph.initializer.extend(weights)


def inner_names(node: onnx.NodeProto) -> Iterator[str]:
    """Names that the subgraphs of a node use."""
    for attribute in node.attribute:
        for graph in (attribute.g, *attribute.graphs):
            for inner in graph.node:
                yield from inner.input
                yield from inner_names(inner)
            yield from (value.name for value in graph.output)
