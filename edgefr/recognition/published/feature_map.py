"""Finds the feature map of a recogniser that is only an ONNX file, so that a fusion can be trained on it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgefr.errors import InvalidArgumentError, WrongModelError, require_extra
from edgefr.io.onnx_file import HEAVY
from edgefr.recognition.published.core_graph import BATCH, inner_names, remove_unused, upgrade_opset
from edgefr.recognition.published.native_graph import CORE_PREFIX, GraphBuilder
from edgefr.runtimes.base import check_onnx_file, last_line
from edgefr.types import EMBEDDING, FACE_SIZE, INPUT_NAME, MAP, MAP_SIZE

if TYPE_CHECKING:
    import onnx

COLOURS, LARGEST_SIDE = 3, 28
"""A map has more channels than a picture, and at most so many rows and columns. Most scores of attention have more."""

MOST_LAYERS = 8
"""Convolutions and matrix products between a usable map and the embedding. Convolutional nets have 1 to 4; a vision
transformer has all its blocks there, because its only map is that of the first layer."""

SHOWN = 6
"""Maps that a message names."""

LOGGED_ERRORS = 4  # onnxruntime's level "fatal": what it raises is told


@dataclass(frozen=True)
class Tap:
    """A feature map inside a graph.

    Attributes:
        name: The tensor.
        channels_last: Whether it is (B, H, W, C) and not (B, C, H, W).
        shape: Channels, height, width.
    """

    name: str
    channels_last: bool
    shape: tuple[int, int, int]

    def __str__(self) -> str:
        return f"{self.name} ({'x'.join(map(str, self.shape))})"


def tapped_from_native(path: Path, wanted: str | None = None) -> tuple[onnx.ModelProto, Tap]:
    """The graph of a recogniser with its feature map as a second output.

    The map is the last one on the way to the embedding, which its pooling or fully connected layer takes. A map of
    other sizes is averaged or interpolated to 7x7.

    Args:
        path: A recogniser of edgefr, as `edgefr adopt`, `edgefr fuse` and `edgefr export` write them.
        wanted: The tensor to take instead, by its name in this file or in the one that was adopted.

    Returns:
        The graph from `image` uint8 (B, 112, 112, 3) to `embedding` (B, K) of unit length and `map` (B, C, 7, 7), and
        the tap.

    Raises:
        WrongModelError: The file is no recogniser of edgefr, its inner tensors cannot be read, or it has no map near
            its embedding.
        InvalidArgumentError: No map has the wanted name.
        MissingExtraError: onnx or onnxruntime is not installed.
    """
    library = require_extra("onnx", "onnx")
    check_onnx_file(path, "training")
    native = upgrade_opset(library.load(path), path)
    way = _way_to_embedding(native, path)
    values = _inner_values(native, [*way, EMBEDDING], path)
    dim = values.pop(EMBEDDING).shape[1]
    maps = [tap for name in way if (tap := _as_map(name, values[name])) is not None]
    tap = _named(maps, wanted, path) if wanted is not None else _last(maps, native, way, path)
    build = GraphBuilder()
    build.nodes.extend(native.graph.node)
    build.weights.extend(native.graph.initializer)
    _add_map(build, tap, values[tap.name].dtype)
    tapped = build.model({EMBEDDING: [BATCH, dim], MAP: [BATCH, tap.shape[0], MAP_SIZE, MAP_SIZE]})
    remove_unused(tapped.graph)
    return tapped, tap


def _way_to_embedding(model: onnx.ModelProto, path: Path) -> list[str]:
    """The tensors that depend on the picture and that the embedding depends on, in the order of the graph."""
    outputs = {value.name for value in model.graph.output}
    if EMBEDDING not in outputs or [value.name for value in model.graph.input] != [INPUT_NAME]:
        raise WrongModelError(
            f"a recogniser of edgefr in {path}",
            f"the outputs {', '.join(sorted(outputs))}",
            "if it is another maker's recogniser, run: edgefr adopt FILE --faces FACES",
        )
    reached, forward = {INPUT_NAME}, []
    for node in model.graph.node:
        if reached.intersection(_taken_by(node)):
            reached.update(name for name in node.output if name)
            forward.append(node)
    needed, way = {EMBEDDING}, []
    for node in reversed(forward):
        if needed.intersection(node.output):
            needed.update(_taken_by(node))
            way += [name for name in reversed(node.output) if name and name != EMBEDDING]
    return way[::-1]


def _taken_by(node: onnx.NodeProto) -> set[str]:
    """The tensors that a node takes, also those that its subgraphs take from around it."""
    return {*node.input, *inner_names(node)}


def _inner_values(model: onnx.ModelProto, names: list[str], path: Path) -> dict[str, Any]:
    """The tensors of these names for a face of noise."""
    library, onnxruntime = require_extra("onnx", "onnx"), require_extra("onnxruntime", "cpu")
    shown = library.ModelProto()
    shown.CopyFrom(model)
    del shown.graph.output[:]
    shown.graph.output.extend(library.ValueInfoProto(name=name) for name in names)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = LOGGED_ERRORS
    face = np.random.default_rng(0).integers(0, 256, (1, FACE_SIZE, FACE_SIZE, 3), np.uint8)
    try:
        session = onnxruntime.InferenceSession(shown.SerializeToString(), options, providers=["CPUExecutionProvider"])
        answers = session.run(names, {INPUT_NAME: face})
    except Exception as error:  # onnxruntime's own types have no common base
        raise WrongModelError(
            f"a graph in {path} whose inner tensors can be read",
            f"a failure ({last_line(error)})",
            "export it again with standard operators",
        ) from error
    return dict(zip(names, answers, strict=True))


def _as_map(name: str, value: Any) -> Tap | None:
    """The tap of a tensor; None if it is no feature map."""
    if getattr(value, "ndim", 0) != 4 or value.dtype not in (np.float32, np.float16) or value.shape[0] != 1:
        return None
    _, first, second, third = value.shape
    # Two of the three are mostly equal: the sides. If all are, or none, the larger one of the outer two is the depth.
    channels_last = first == second if (second == third) != (first == second) else third > first
    channels, height, width = (third, first, second) if channels_last else (first, second, third)
    if channels <= COLOURS or height * width == 1 or max(height, width) > LARGEST_SIDE:
        return None
    return Tap(name, channels_last, (channels, height, width))


def _named(maps: list[Tap], wanted: str, path: Path) -> Tap:
    found = [tap for tap in maps if tap.name in (wanted, f"{CORE_PREFIX}{wanted}")]
    if not found:
        raise InvalidArgumentError(f"tap to name a feature map of {path}", repr(wanted), f"choose one of {_list(maps)}")
    return found[0]


def _last(maps: list[Tap], model: onnx.ModelProto, way: list[str], path: Path) -> Tap:
    """The last map, which must be near the embedding."""
    if not maps:
        raise WrongModelError(
            f"a feature map on the way to the embedding in {path}",
            "none",
            "fuse the file without training: edgefr fuse",
        )
    later = set(way[way.index(maps[-1].name) + 1 :]) | {EMBEDDING}
    layers = sum(node.op_type in HEAVY and bool(later.intersection(node.output)) for node in model.graph.node)
    if layers > MOST_LAYERS:
        raise WrongModelError(
            f"a feature map near the embedding in {path}",
            f"{layers} layers after the last map, {maps[-1]}",
            f"fuse the file without training (edgefr fuse), or name a map with tap: {_list(maps)}",
        )
    return maps[-1]


def _list(maps: list[Tap]) -> str:
    """The last maps of each shape."""
    last: dict[tuple[int, int, int], str] = {}
    for tap in maps:
        last.pop(tap.shape, None)  # else the place of the first one would be kept
        last[tap.shape] = str(tap)
    return ", ".join(list(last.values())[: -SHOWN - 1 : -1]) or "none"


def _add_map(build: GraphBuilder, tap: Tap, dtype: Any) -> None:
    """Add the output `map`. Two products of matrices change the size, because every runtime has those."""
    taken = tap.name
    if dtype != np.float32:
        taken = build.node("Cast", [taken], "tap_floats", to=1)
    if tap.channels_last:
        taken = build.node("Transpose", [taken], "tap_planes", perm=[0, 3, 1, 2])
    _, height, width = tap.shape
    if width != MAP_SIZE:
        taken = build.node("MatMul", [taken, build.weight("tap_columns", resizing(width).T)], "tap_resized_columns")
    if height != MAP_SIZE:
        taken = build.node("MatMul", [build.weight("tap_rows", resizing(height)), taken], "tap_resized_rows")
    build.node("Identity", [taken], MAP)


def resizing(size: int) -> Any:
    """The matrix (7, size) that resizes lines: averages as torch's `adaptive_avg_pool2d` if they are longer than 7,
    and bilinear interpolation as torch's `interpolate` (align_corners=False) if they are shorter."""
    matrix = np.zeros((MAP_SIZE, size), np.float32)
    for row in range(MAP_SIZE):
        if size > MAP_SIZE:
            start, end = row * size // MAP_SIZE, -((-(row + 1) * size) // MAP_SIZE)
            matrix[row, start:end] = 1 / (end - start)
            continue
        centre = min(max((row + 0.5) * size / MAP_SIZE - 0.5, 0.0), size - 1.0)
        lower = int(centre)
        matrix[row, lower] += 1 - (centre - lower)
        matrix[row, min(lower + 1, size - 1)] += centre - lower
    return matrix
