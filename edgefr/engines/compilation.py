"""Compiles an ONNX file for a runtime and checks the precision of the result."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from edgefr.engines.compiled_engine import CompiledEngine
from edgefr.engines.device_profile import Profile
from edgefr.errors import EdgefrError
from edgefr.io.onnx_file import graph_precision
from edgefr.runtimes.engine_file import Target
from edgefr.runtimes.runtime_registry import engine_suffixes, local_target
from edgefr.types import Faces

MIN_LAYER_SHARE = 0.5
"""Smallest share of the heavy layers that must run in the precision of an engine."""


def engine_target(runtime: str, precision: str, profile: Profile) -> Target:
    """The target of an engine that is built here; an error if the runtime has no engines or is not installed."""
    if runtime.startswith("tensorrt"):
        from edgefr.engines.tensorrt_builder import build_target

        return build_target(runtime, profile)
    return local_target(runtime, precision)


def max_opset(runtime: str) -> int | None:
    """The newest operator set that a runtime reads. None if it reads every one that edgefr writes."""
    if not runtime.startswith("tensorrt"):
        return None
    from edgefr.engines import tensorrt_builder

    return tensorrt_builder.max_opset(runtime)


def converts_itself(runtime: str) -> bool:
    """Whether a runtime converts an FP32 file to a precision while it compiles it."""
    return runtime == "ncnn"


def compile_engine(
    model: Path, runtime: str, precision: str, profile: Profile, timing_folder: Path, faces: Faces, min_cosine: float
) -> CompiledEngine:
    """Compile an .onnx file. The engine is written next to it.

    Args:
        model: The file, already converted to the precision unless the runtime converts itself.
        runtime: Name of the runtime.
        precision: Precision of the engine.
        profile: The device profile.
        timing_folder: Folder of TensorRT's timing caches.
        faces: (N, 112, 112, 3) faces to calibrate on, for a runtime that converts itself.
        min_cosine: The lowest cosine to FP32 on these faces, likewise.

    Raises:
        EdgefrError: The runtime cannot compile it, or the result is not in `precision`.
    """
    path = model.with_name(f"engine{engine_suffixes().get(runtime, '')}")
    if runtime == "onnxruntime":
        graph = graph_precision(model)
        compiled = CompiledEngine(model, {"fp32": graph.fp32, "fp16": graph.fp16, "int8": graph.int8})
    elif runtime == "openvino":
        from edgefr.runtimes.openvino import OpenVinoBackend

        backend = OpenVinoBackend(model, precision)
        path.write_bytes(backend.export())
        compiled = CompiledEngine(path, backend.layers())
    elif runtime == "ncnn":
        from edgefr.engines.ncnn_builder import build_ncnn_engine

        compiled = build_ncnn_engine(model, precision, path, faces, min_cosine)
    else:
        from edgefr.engines.tensorrt_builder import build_tensorrt_engine

        compiled = build_tensorrt_engine(model, runtime, precision, profile, path, timing_folder)
    check_layers(compiled.layers, precision)
    return compiled


def check_layers(layers: Mapping[str, int] | None, precision: str) -> None:
    """Check that at least half of the heavy layers (number format -> number; None if unknown) are in a precision."""
    if layers is None:
        return
    total, found = sum(layers.values()), layers.get(precision, 0)
    if not total or found < MIN_LAYER_SHARE * total:
        others = ", ".join(f"{count} in {name}" for name, count in sorted(layers.items()) if count) or "none at all"
        raise EdgefrError(
            f"at least {MIN_LAYER_SHARE:.0%} of {total} heavy layers in {precision}",
            f"{found} ({others})",
            "build it in another precision or for another --runtime",
        )
