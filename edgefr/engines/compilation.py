"""From an ONNX file to what a runtime loads fastest, and what it really computes in."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from edgefr.engines.compiled_engine import CompiledEngine
from edgefr.engines.device_profile import Profile
from edgefr.errors import EdgefrError
from edgefr.io.onnx_file import graph_precision
from edgefr.runtimes import local_target
from edgefr.runtimes.engine_file import SUFFIXES, Target

FEWEST = 0.5
"""The least share of heavy layers that an engine must run in the precision it is named after."""


def place_of(runtime: str, profile: Profile) -> Target:
    """What an engine of `runtime` would be bound to.

    Raises:
        EdgefrError: the runtime is unknown or not installed.
    """
    if runtime in ("tensorrt", "tensorrt-rtx"):
        from edgefr.engines.tensorrt_builder import target

        return target(runtime, profile)
    return local_target(runtime)


def newest_opset(runtime: str) -> int | None:
    """The newest operator set that a runtime reads, None where it reads all that edgefr writes.

    Raises:
        EdgefrError: the runtime is not installed.
    """
    if runtime not in ("tensorrt", "tensorrt-rtx"):
        return None
    from edgefr.engines import tensorrt_builder as tensorrt_build

    return tensorrt_build.newest_opset(runtime)


def compiled(model: Path, runtime: str, precision: str, profile: Profile, timings: Path) -> CompiledEngine:
    """Compile `model` beside itself as `engine` with the runtime's suffix; `timings` is a folder that outlives it.

    Raises:
        EdgefrError: the runtime cannot compile it, or what it made is not in `precision`.
    """
    if runtime == "onnxruntime":
        graph = graph_precision(model)
        made = CompiledEngine(model, {"fp32": graph.fp32, "fp16": graph.fp16, "int8": graph.int8})
    elif runtime == "openvino":
        from edgefr.runtimes.openvino import OpenVinoBackend

        backend = OpenVinoBackend(model, precision)
        path = model.with_name(f"engine{_suffix(runtime)}")
        path.write_bytes(backend.export())
        made = CompiledEngine(path, backend.layers())
    else:
        from edgefr.engines.tensorrt_builder import build

        made = build(model, runtime, precision, profile, model.with_name(f"engine{_suffix(runtime)}"), timings)
    check_layers(made.layers, precision)
    return made


def check_layers(layers: Mapping[str, int] | None, precision: str) -> None:
    """Refuse an engine that does not compute in what it is named after.

    Raises:
        EdgefrError: fewer than half of its heavy layers do, or it has none.
    """
    if layers is None:
        return
    total, found = sum(layers.values()), layers.get(precision, 0)
    if not total or found < FEWEST * total:
        others = ", ".join(f"{count} in {name}" for name, count in sorted(layers.items()) if count) or "none at all"
        raise EdgefrError(
            f"at least {FEWEST:.0%} of {total} heavy layers in {precision}",
            f"{found} ({others})",
            "build it in another precision or for another --runtime",
        )


def _suffix(runtime: str) -> str:
    return next(suffix for suffix, name in SUFFIXES.items() if name == runtime)
