"""Converts an FP32 graph to another precision, with as few nodes left in FP32 as the comparison allows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgefr.engines.precision.fp16 import fp16_from_fp32
from edgefr.engines.precision.fp16_overflow import find_overflowing_nodes
from edgefr.engines.precision.fp32_fallback import minimal_fp32_nodes
from edgefr.engines.precision.int8 import CalibratedGraph, calibrate_graph
from edgefr.engines.precision.onnx_graph import onnx_session
from edgefr.errors import InvalidArgumentError, require_extra
from edgefr.io.onnx_file import HEAVY
from edgefr.types import EMBEDDING, INPUT_NAME, Faces, Floats

if TYPE_CHECKING:
    import onnx

MAX_SEARCH_FACES = 64
"""Faces that a search compares on. It converts and compares dozens of times."""

MARGIN = 0.8
"""The share of the allowed difference that a conversion may use on those few faces. More faces show larger ones."""

BATCH = 16


@dataclass(frozen=True)
class Conversion:
    """A converted graph, the nodes that stayed in FP32 although their operators need not, and the number of faces."""

    model: onnx.ModelProto
    fp32_nodes: tuple[str, ...]
    faces: int


def convert_precision(
    model: onnx.ModelProto,
    precision: str,
    faces: Faces,
    cosine_min: float,
    runtime: str,
    reduce_range: bool = False,
) -> Conversion:
    """Convert an FP32 graph.

    If the embeddings differ from those in FP32 by more than MARGIN of the bound, the smallest set of nodes that must
    stay in FP32 is searched. The search computes with onnxruntime on the processor. That shows the effect of FP16's
    rounded weights and results, but not of the sums that a GPU may round as well. Their effect shows when the engine
    itself is compared.

    Args:
        model: The graph, as `onnx_graph.read_graph` gives it.
        precision: The precision. FP32 and bf16 leave the graph as it is, because bf16 is a setting of the runtime.
        faces: (N, 112, 112, 3) aligned faces to compare and to calibrate on.
        cosine_min: The bound for the lowest cosine to the embedding in FP32.
        runtime: Name of the runtime. INT8 is symmetric for TensorRT.
        reduce_range: Whether INT8 weights get 7 bits, see `Processor.saturates_int8`.

    Raises:
        InvalidArgumentError: The precision needs faces and there is none.
    """
    if precision in ("fp32", "bf16"):
        return Conversion(model, (), 0)
    if len(faces) == 0:
        raise InvalidArgumentError(f"faces to convert to {precision} with", "none", "give some with --faces")
    min_cosine = searched_cosine(cosine_min)
    if precision == "fp16":
        return _convert_to_fp16(model, faces, min_cosine)
    graph = calibrate_graph(model, faces, runtime.startswith("tensorrt"), reduce_range)
    return _convert_to_int8(model, graph, faces, min_cosine)


def searched_cosine(cosine_min: float) -> float:
    """The lowest cosine on the few faces of a search, for a bound."""
    return 1 - MARGIN * (1 - cosine_min)


def _convert_to_fp16(model: onnx.ModelProto, faces: Faces, min_cosine: float) -> Conversion:
    few = faces[:MAX_SEARCH_FACES]
    overflowing: tuple[str, ...] = ()
    while more := find_overflowing_nodes(fp16_from_fp32(model, overflowing), few):
        overflowing += more  # the first overflow hides those behind it
    heavy = [node.name for node in model.graph.node if node.op_type in HEAVY and node.name not in overflowing]
    always = frozenset(overflowing)

    def convert(keep: frozenset[str]) -> onnx.ModelProto:
        return fp16_from_fp32(model, keep | always)

    kept = overflowing + minimal_fp32_nodes(heavy, _is_near(model, convert, few, min_cosine))
    return Conversion(fp16_from_fp32(model, kept), kept, len(few))


def _convert_to_int8(model: onnx.ModelProto, graph: CalibratedGraph, faces: Faces, min_cosine: float) -> Conversion:
    is_near = _is_near(model, graph.int8, faces[:MAX_SEARCH_FACES], min_cosine)
    kept = minimal_fp32_nodes(graph.nodes(), is_near)
    return Conversion(graph.int8(kept), kept, len(faces))


def _is_near(
    model: onnx.ModelProto, convert: Callable[[frozenset[str]], onnx.ModelProto], faces: Faces, min_cosine: float
) -> Callable[[frozenset[str]], bool]:
    """A function that checks that every embedding is near the one in FP32 if these nodes stay in FP32."""
    reference = _embeddings(model, faces)

    def is_near(keep: frozenset[str]) -> bool:
        cosine = (reference * _embeddings(convert(keep), faces)).sum(1)
        return bool((cosine > min_cosine).all())  # False for NaN

    return is_near


def _embeddings(model: onnx.ModelProto, faces: Faces) -> Floats:
    """(N, 112, 112, 3) -> (N, K), normalised in any case."""
    library = require_extra("onnxruntime", "train")
    session = onnx_session(model, library.GraphOptimizationLevel.ORT_ENABLE_EXTENDED)
    parts = [session.run([EMBEDDING], {INPUT_NAME: faces[at : at + BATCH]})[0] for at in range(0, len(faces), BATCH)]
    embeddings = np.concatenate(parts).astype(np.float32)
    unit: Floats = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    return unit
