"""An FP32 graph in another precision, with as few nodes left in FP32 as a comparison allows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgefr.engines.precision.fp16 import fp16_from_fp32
from edgefr.engines.precision.fp16_overflow import overflowing
from edgefr.engines.precision.fp32_fallback import smallest
from edgefr.engines.precision.int8 import calibrated
from edgefr.errors import EdgefrError, require_extra
from edgefr.io.onnx_file import HEAVY
from edgefr.types import EMBEDDING, INPUT_NAME, Faces, Floats

if TYPE_CHECKING:
    import onnx

MOST_FACES = 64
"""Faces that a search compares on: it converts and compares some dozens of times."""

MARGIN = 0.8
"""The part of what a bound allows that a conversion may use on those few faces; more faces show more."""

BATCH = 16


@dataclass(frozen=True)
class Conversion:
    """A converted graph, the nodes that stayed in FP32 beyond the islands (the recipe), and the number of faces it was
    calibrated on."""

    model: onnx.ModelProto
    kept: tuple[str, ...]
    faces: int


def converted(model: onnx.ModelProto, precision: str, faces: Faces, cosine_min: float, runtime: str) -> Conversion:
    """Convert an FP32 graph (graph.py); FP32 and bf16 are the graph as it is, for bf16 is the processor's matter.

    Where the embeddings of (N, 112, 112, 3) faces come out further from FP32's than MARGIN of what `cosine_min` allows,
    the smallest set of nodes is searched that has to stay in FP32. They are computed by onnxruntime on the processor:
    of FP16 it shows weights and results that were rounded, but not sums, which a GPU may round, too. What those change
    is seen where the engine itself is compared.

    Raises:
        EdgefrError: there is no face to convert with.
    """
    if precision in ("fp32", "bf16"):
        return Conversion(model, (), 0)
    if len(faces) == 0:
        raise EdgefrError(f"faces to convert to {precision} with", "none", "give some with --faces")
    nearest = 1 - MARGIN * (1 - cosine_min)
    if precision == "fp16":
        return _fp16(model, faces, nearest)
    return _int8(model, faces, nearest, symmetric=runtime.startswith("tensorrt"))


def _fp16(model: onnx.ModelProto, faces: Faces, nearest: float) -> Conversion:
    few = faces[:MOST_FACES]
    kept: tuple[str, ...] = ()
    while lost := overflowing(fp16_from_fp32(model, kept), few):
        kept += lost  # what overflows first hides what would overflow behind it
    heavy = [node.name for node in model.graph.node if node.op_type in HEAVY and node.name not in kept]
    overflown = frozenset(kept)

    def make(keep: frozenset[str]) -> onnx.ModelProto:
        return fp16_from_fp32(model, keep | overflown)

    kept += smallest(heavy, _near(model, make, few, nearest))
    return Conversion(fp16_from_fp32(model, kept), kept, len(few))


def _int8(model: onnx.ModelProto, faces: Faces, nearest: float, symmetric: bool) -> Conversion:
    ready = calibrated(model, faces, symmetric)
    kept = smallest(ready.nodes(), _near(model, ready.int8, faces[:MOST_FACES], nearest))
    return Conversion(ready.int8(kept), kept, len(faces))


def _near(
    model: onnx.ModelProto, make: Callable[[frozenset[str]], onnx.ModelProto], faces: Faces, nearest: float
) -> Callable[[frozenset[str]], bool]:
    """Whether every face's embedding is near the FP32 one, with these nodes kept."""
    reference = _embeddings(model, faces)

    def good(keep: frozenset[str]) -> bool:
        cosine = (reference * _embeddings(make(keep), faces)).sum(1)
        return bool((cosine > nearest).all())  # not so where it is not a number

    return good


def _embeddings(model: onnx.ModelProto, faces: Faces) -> Floats:
    """(N, 112, 112, 3) -> (N, K) of unit length, whatever the graph gives."""
    library = require_extra("onnxruntime", "train")
    options = library.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = library.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    session = library.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    parts = [session.run([EMBEDDING], {INPUT_NAME: faces[at : at + BATCH]})[0] for at in range(0, len(faces), BATCH)]
    found = np.concatenate(parts).astype(np.float32)
    unit: Floats = found / np.linalg.norm(found, axis=1, keepdims=True)
    return unit
