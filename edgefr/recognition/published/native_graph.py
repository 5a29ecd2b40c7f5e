"""Gives the core of a published recogniser edgefr's input and outputs, inside the ONNX graph.

The result maps `image` uint8 (B, 112, 112, 3) RGB to `embedding` (B, K) of unit length and `norm` (B,), as every
recogniser of edgefr does. So it runs on every runtime, and can be compiled, served and fused like one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from edgefr.errors import require_extra
from edgefr.manifest import Manifest
from edgefr.recognition.published.convention import SMALLEST_DEVIATION, Convention
from edgefr.recognition.published.core_graph import BATCH, IR_VERSION, OPSET, PIXELS
from edgefr.recognition.published.published_net import PublishedNet
from edgefr.types import EMBEDDING, FACE_SIZE, INPUT_NAME, METADATA_KEY, NORM

if TYPE_CHECKING:
    from pathlib import Path

    import onnx

CORE_PREFIX = "net/"
"""Before the names of the published graph in the adopted one."""

SHORTEST_NORM = 1e-12
"""An embedding of zeros is divided by this, as by torch's `normalize`."""


class GraphBuilder:
    """Collects the nodes and weights of a graph."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.weights: list[Any] = []
        self._library = require_extra("onnx", "onnx")

    def node(self, operator: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        """Add a node with one output, and return the name of the output."""
        self.nodes.append(self._library.helper.make_node(operator, list(inputs), [output], output, **attributes))
        return output

    def weight(self, name: str, values: Any, dtype: Any = np.float32) -> str:
        """Add a weight, and return its name."""
        self.weights.append(self._library.numpy_helper.from_array(np.asarray(values, dtype), name))
        return name

    def model(self, outputs: dict[str, Any]) -> onnx.ModelProto:
        """The model with the input `image` and outputs of the given shapes, float32."""
        helper, types = self._library.helper, self._library.TensorProto
        image = helper.make_tensor_value_info(INPUT_NAME, types.UINT8, [BATCH, FACE_SIZE, FACE_SIZE, 3])
        answers = [helper.make_tensor_value_info(name, types.FLOAT, shape) for name, shape in outputs.items()]
        graph = helper.make_graph(self.nodes, "edgefr", [image], answers, self.weights)
        model: onnx.ModelProto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)])
        model.ir_version, model.producer_name = IR_VERSION, "edgefr"
        self._library.checker.check_model(model)
        return model


def native_from_core(core: onnx.ModelProto, net: PublishedNet, convention: Convention, output: str) -> onnx.ModelProto:
    """The recogniser with edgefr's input and outputs.

    Args:
        core: The graph that `core_from_published` wrote.
        net: What it found.
        convention: What the net expects.
        output: The output that is the embedding.

    Returns:
        A model with the input `image` and the outputs `embedding` and `norm`.
    """
    build = GraphBuilder()
    pixels = build.node("Cast", [INPUT_NAME], "floats", to=1)
    pixels = build.node("Transpose", [pixels], "planes", perm=[0, 3, 1, 2])
    pixels = _resized(build, pixels, net.size)
    is_reversed = convention.colour == "bgr" and not _reverse_first_conv(core)
    pixels = _normalised(build, pixels, convention, net, is_reversed)
    if net.channels_last:
        pixels = build.node("Transpose", [pixels], "rows", perm=[0, 2, 3, 1])
    if net.dtype != "float32":
        pixels = build.node("Cast", [pixels], "input", to={"float16": 10, "uint8": 2}[net.dtype])
    raw = insert_graph(build, core, {PIXELS: pixels}, CORE_PREFIX)[output]
    if net.dtype == "float16":
        raw = build.node("Cast", [raw], "raw", to=1)
    raw = build.node("Flatten", [raw], "flat", axis=1)
    add_unit_outputs(build, raw)
    return build.model({EMBEDDING: [BATCH, net.outputs[output]], NORM: [BATCH]})


def add_unit_outputs(build: GraphBuilder, raw: str, norm: str = NORM) -> None:
    """Add the output `embedding` (B, K) of unit length, and the length (B,) of the tensor `raw` (B, K) as `norm`."""
    last = build.weight("last_axis", [1], np.int64)
    length = build.node("ReduceL2", [raw, last], "length", keepdims=1)
    divisor = build.node("Max", [length, build.weight("shortest", SHORTEST_NORM)], "divisor")
    build.node("Div", [raw, divisor], EMBEDDING)
    build.node("Squeeze", [length, last], norm)


def save_with_manifest(graph: onnx.ModelProto, path: Path, manifest: Manifest | None) -> None:
    """Write a graph.

    Args:
        graph: The graph, whose metadata is replaced.
        path: The file to write.
        manifest: Its manifest, for the metadata; None for a file that is only compared.
    """
    del graph.metadata_props[:]
    if manifest is not None:
        entry = graph.metadata_props.add()
        entry.key, entry.value = METADATA_KEY, manifest.to_json()
    require_extra("onnx", "onnx").save(graph, path)


def crop_for(size: tuple[int, int]) -> tuple[int, int]:
    """Height and width of the part in the middle of an aligned face that has the shape of a net's input."""
    height, width = size
    longer = max(height, width)
    return round(FACE_SIZE * height / longer), round(FACE_SIZE * width / longer)


def _resized(build: GraphBuilder, pixels: str, size: tuple[int, int]) -> str:
    """Scale planes (B, 3, 112, 112) to the size of the net; the middle of the face is cut out if it is not square."""
    rows, columns = crop_for(size)
    if rows != columns:
        starts = [(FACE_SIZE - rows) // 2, (FACE_SIZE - columns) // 2]
        ranges = {"starts": starts, "ends": [starts[0] + rows, starts[1] + columns], "axes": [2, 3]}
        names = [build.weight(f"cut_{key}", value, np.int64) for key, value in ranges.items()]
        pixels = build.node("Slice", [pixels, *names], "cut")
    if (rows, columns) == size:
        return pixels
    scales = build.weight("scales", [1, 1, size[0] / rows, size[1] / columns])
    modes = {"mode": "linear", "coordinate_transformation_mode": "half_pixel"}
    return build.node("Resize", [pixels, "", scales], "resized", **modes)


def _reverse_first_conv(core: onnx.ModelProto) -> bool:
    """Reverse the colours that the first convolution expects, if only a convolution takes the pixels.

    This costs nothing at run time. The net then takes RGB.
    """
    from onnx import numpy_helper

    weights = {tensor.name: tensor for tensor in core.graph.initializer}
    users = [node for node in core.graph.node if PIXELS in node.input]
    if not users or any(node.op_type != "Conv" or node.input[1] not in weights for node in users):
        return False
    kernels = [numpy_helper.to_array(weights[node.input[1]]) for node in users]
    if any(kernel.ndim != 4 or kernel.shape[1] != 3 for kernel in kernels):  # (out, in / groups, height, width)
        return False
    for number, (node, kernel) in enumerate(zip(users, kernels, strict=True)):
        name = f"first_kernel_for_rgb_{number}"
        core.graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(kernel[:, ::-1]), name))
        node.input[1] = name
    return True


def _normalised(build: GraphBuilder, planes: str, convention: Convention, net: PublishedNet, is_reversed: bool) -> str:
    """Normalise planes (B, 3, H, W) of RGB, and reverse them if the net does not take RGB."""
    if net.dtype != "uint8":
        if convention.per_image:
            planes = _standardised(build, planes)
        else:
            by_colour = slice(None) if convention.colour == "rgb" else slice(None, None, -1)
            mean = np.reshape(convention.mean[by_colour], (1, 3, 1, 1))
            std = np.reshape(convention.std[by_colour], (1, 3, 1, 1))
            planes = build.node("Sub", [planes, build.weight("mean", mean)], "centred")
            planes = build.node("Div", [planes, build.weight("std", std)], "normalised")
    if not is_reversed:
        return planes
    ranges = {"starts": [2], "ends": [-4], "axes": [1], "steps": [-1]}
    return build.node(
        "Slice", [planes, *(build.weight(f"bgr_{key}", value, np.int64) for key, value in ranges.items())], "bgr"
    )


def _standardised(build: GraphBuilder, planes: str) -> str:
    """Subtract the mean of each picture, and divide by its deviation."""
    axes = build.weight("picture_axes", [1, 2, 3], np.int64)
    mean = build.node("ReduceMean", [planes, axes], "picture_mean", keepdims=1)
    centred = build.node("Sub", [planes, mean], "picture_centred")
    variance = build.node(
        "ReduceMean", [build.node("Mul", [centred, centred], "squares"), axes], "variance", keepdims=1
    )
    deviation = build.node("Sqrt", [variance], "deviation")
    divisor = build.node("Max", [deviation, build.weight("smallest_deviation", SMALLEST_DEVIATION)], "picture_divisor")
    return build.node("Div", [centred, divisor], "standardised")


def insert_graph(build: GraphBuilder, core: onnx.ModelProto, inputs: dict[str, str], prefix: str) -> dict[str, str]:
    """Add the nodes and weights of another graph, with a prefix before all names.

    Args:
        build: Where to add them.
        core: The other graph.
        inputs: Each of its inputs -> the tensor that takes its place.
        prefix: The prefix.

    Returns:
        Each output of the other graph -> its tensor.
    """
    from onnx import compose

    graph = compose.add_prefix_graph(core.graph, prefix)
    renamed = {f"{prefix}{name}": tensor for name, tensor in inputs.items()}
    _rename_inputs(graph.node, renamed)
    build.nodes.extend(graph.node)
    build.weights.extend(graph.initializer)
    return {value.name.removeprefix(prefix): value.name for value in graph.output}


def _rename_inputs(nodes: Any, renamed: dict[str, str]) -> None:
    """Also in subgraphs, which may use tensors of the graph around them."""
    for node in nodes:
        node.input[:] = [renamed.get(name, name) for name in node.input]
        for attribute in node.attribute:
            for graph in (attribute.g, *attribute.graphs):
                _rename_inputs(graph.node, renamed)
