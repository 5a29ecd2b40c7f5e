"""Builds an engine from an ONNX file: converts, compiles, measures and compares it, and keeps it only if it passes.

Nothing is written if the comparison exceeds a bound. If the engine cannot run on this machine, for example because
TensorRT-RTX compiled it for another GPU, the converted file is compared instead, and the manifest says so.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from edgefr.engines.compilation import check_layers, compile_engine, converts_itself, engine_target, max_opset
from edgefr.engines.compiled_engine import CompiledEngine
from edgefr.engines.device_profile import Batch, Profile
from edgefr.engines.engine_cache import delete_folder, engine_folder, publish_folder
from edgefr.engines.parity_gate import BOUNDS, Bound, ParityReport, check_bounds, compare_models
from edgefr.engines.precision.conversion import Conversion, convert_precision, searched_cosine
from edgefr.engines.precision.onnx_graph import read_graph
from edgefr.engines.precision.opset import downgrade_opset
from edgefr.errors import EdgefrError, WrongModelError, require_extra
from edgefr.evaluation.pairs import Pairs
from edgefr.io.files import sha256_of
from edgefr.io.onnx_file import graph_precision
from edgefr.io.onnx_tensors import model_size
from edgefr.manifest import (
    Manifest,
    model_digest,
    model_manifest,
    onnx_references,
    package_versions,
    read_manifest,
    write_manifest,
    write_model_manifest,
)
from edgefr.recognition.recogniser import Recogniser, open_recogniser
from edgefr.runtimes.engine_file import EngineKey, EngineRecord
from edgefr.runtimes.processor import processor
from edgefr.runtimes.runtime_registry import engine_suffixes
from edgefr.types import Faces

MAX_SIZE_RATIO = {"fp16": 0.75, "int8": 0.75}
"""Largest size of a converted file as a share of the FP32 file. Engines are not checked, because they also contain
code for each GPU generation; their layers are counted instead."""

MIN_CHECKED_BYTES = 1 << 20
"""The size of a smaller file does not depend on its weights."""

REDUCED = " 7-bit weights"
"""Ends the settings in the key of an INT8 engine for a processor without VNNI."""


class ParityGateError(EdgefrError):
    """An engine decides differently from its model. The answer is no, so that the exit code is that of a no."""

    exit_code = 1


@dataclass(frozen=True)
class BuildFaces:
    """Aligned faces (N, 112, 112, 3) and pairs of them to compare on, and others (M, 112, 112, 3) to calibrate on."""

    faces: Faces
    pairs: Pairs | None
    calibration: Faces

    def digest(self) -> str:
        """Sixteen hexadecimal digits of all of them."""
        pairs = () if self.pairs is None else (self.pairs.first, self.pairs.second, self.pairs.same)
        digest = hashlib.sha256()
        for array in (self.faces, self.calibration, *pairs):
            digest.update(f"{array.shape} {array.dtype}".encode())
            digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()[:16]


@dataclass(frozen=True)
class BuiltEngine:
    """An engine with its manifest; `from_cache`: whether it existed before."""

    path: Path
    manifest: Manifest
    from_cache: bool


def engine_from_onnx(
    model: Path,
    precision: str,
    runtime: str,
    profile: Profile,
    faces: BuildFaces,
    root: Path,
    log: Callable[[str], None] = lambda text: None,
) -> BuiltEngine:
    """Build an engine, or find it in the folder of engines.

    Args:
        model: The FP32 .onnx file.
        precision: "fp32", "bf16", "fp16" or "int8".
        runtime: Name of the runtime.
        profile: The device profile.
        faces: Faces to compare and to calibrate on.
        root: The folder of engines.
        log: Called with a text for each step.

    Raises:
        ParityGateError: The engine decides differently from the model in FP32. Nothing is written.
        EdgefrError: Model, runtime or profile cannot be used, or the engine is not in `precision`. Nothing is written.
    """
    itself = converts_itself(runtime)
    before = "fp32" if itself else precision
    graph = read_graph(model)
    if (source_precision := graph_precision(model).name) != "fp32":
        raise WrongModelError(
            "an FP32 model to build from", f"{model} in {source_precision}", "give the file that `edgefr export` wrote"
        )
    inherited, bound = _inherited_manifest(model, before), BOUNDS[precision]
    reduced = precision == "int8" and not (itself or runtime.startswith("tensorrt")) and processor().saturates_int8
    settings = _settings(profile, inherited, bound, faces) + (REDUCED if reduced else "")
    key = EngineKey(model_digest(model), precision, engine_target(runtime, precision, profile), settings)
    folder = engine_folder(root, model.stem, key)
    if (cached := _cached_engine(folder, runtime)) is not None:
        return cached
    reference = open_recogniser(model, "onnxruntime", "fp32")
    if (opset := max_opset(runtime)) is not None:
        graph = downgrade_opset(graph, opset)
    with publish_folder(folder) as temporary:
        log(f"Converting {model.name} to {precision} ...")
        conversion = convert_precision(graph, before, faces.calibration, bound.cosine_min, runtime, reduced)
        file = temporary / "model.onnx"
        require_extra("onnx", "train").save(conversion.model, file)
        write_model_manifest(file, inherited)  # before compiling: the engine's digest is of the file with its metadata
        log(f"Compiling with {runtime} ...")
        compiled = compile_engine(
            file, runtime, precision, profile, root, faces.calibration, searched_cosine(bound.cosine_min)
        )
        if compiled.layers is None:
            log(f"{runtime} does not report the number formats of the layers. The manifest notes this.")
        if before in ("fp16", "int8"):
            counts = graph_precision(file)
            check_layers({"fp32": counts.fp32, "fp16": counts.fp16, "int8": counts.int8}, precision)
            _check_size(file, model, precision)
        manifest = _engine_manifest(inherited, model, key, conversion, compiled, profile.batch)
        write_manifest(compiled.path, manifest)
        log("Comparing with the model in FP32 ...")
        report = _run_parity_gate(reference, compiled, file, manifest, faces, bound)
        compared = compiled.path.name if compiled.runs else file.name
        manifest = replace(manifest, engine=manifest.engine | {"parity": asdict(report), "compared": compared})
        write_manifest(compiled.path, manifest)
    return BuiltEngine(folder / compiled.path.name, manifest, from_cache=False)


def _settings(profile: Profile, inherited: Manifest, bound: Bound, faces: BuildFaces) -> str:
    """Everything besides model, precision and target that changes the engine or its manifest.

    An engine takes over the thresholds of the model, and its flips are counted at them. So an engine with other
    thresholds, faces or bounds is built and compared again.
    """
    unseen = [entry.unseen_fmr for entry in inherited.thresholds if entry.unseen_fmr is not None]
    text = repr((profile, inherited.thresholds, inherited.quality, bound, faces.digest(), *unseen))
    return text.replace("QualityLimit(", "Quality(")  # the name of the class in the keys of existing engines


def _run_parity_gate(
    reference: Recogniser, compiled: CompiledEngine, file: Path, manifest: Manifest, faces: BuildFaces, bound: Bound
) -> ParityReport:
    separate = compiled.runs and compiled.path != file
    candidate = open_recogniser(compiled.path) if separate else open_recogniser(file, "onnxruntime")
    report = compare_models(
        reference, candidate, faces.faces, faces.pairs, sorted(entry.value for entry in manifest.thresholds_for("fp32"))
    )
    if exceeded := check_bounds(report, bound):
        raise ParityGateError(
            f"an engine in {manifest.engine['key']['precision']} that decides like {reference.source} in FP32",
            f"differences ({'; '.join(exceeded)})",
            "build it in another precision. Nothing was written",
        )
    return report


def _check_size(converted: Path, model: Path, precision: str) -> None:
    """Check that the weights of a converted file are smaller than those of the model."""
    size, full_size = converted.stat().st_size, model_size(model)
    if full_size > MIN_CHECKED_BYTES and size > MAX_SIZE_RATIO[precision] * full_size:
        raise EdgefrError(
            f"a file in {precision} of at most {MAX_SIZE_RATIO[precision]:.0%} of the model's {full_size:,} bytes",
            f"{size:,} bytes",
            "report this with the versions that `edgefr doctor` prints: the weights have a wider format",
        )


def _inherited_manifest(model: Path, precision: str) -> Manifest:
    """The manifest of the converted file: that of the model, and the model as its origin."""
    known = model_manifest(model) or Manifest("onnx", model.stem)
    made_from = known.made_from | onnx_references("onnx", model)
    versions = package_versions("onnx", "onnxruntime")
    return replace(known, kind=f"onnx {precision}", made_from=made_from, versions=versions, model_sha256="")


def _engine_manifest(
    inherited: Manifest, model: Path, key: EngineKey, conversion: Conversion, compiled: CompiledEngine, batch: Batch
) -> Manifest:
    record = EngineRecord(key, sha256_of(compiled.path), compiled.path.stat().st_size)
    measured: dict[str, Any] = {
        "layers": None if compiled.layers is None else dict(compiled.layers),
        "size_ratio": record.bytes / model_size(model),
        "kept_fp32": [*conversion.fp32_nodes, *compiled.fp32_nodes],
        "calibrated_on": conversion.faces or compiled.faces,
        "batch": asdict(batch),
    }
    return replace(inherited, kind="engine", engine=record.to_dict() | measured)


def _cached_engine(folder: Path, runtime: str) -> BuiltEngine | None:
    """The engine in `folder`. A damaged one is deleted, so that it is built again."""
    if not folder.is_dir():
        return None
    suffix = engine_suffixes().get(runtime)
    path = folder / (f"engine{suffix}" if suffix else "model.onnx")
    with suppress(EdgefrError):  # the manifest cannot be read, so that the engine is damaged
        manifest = read_manifest(path) if path.is_file() else None
        if manifest is not None and sha256_of(path) == manifest.engine.get("sha256"):
            return BuiltEngine(path, manifest, from_cache=True)
    delete_folder(folder)
    return None
