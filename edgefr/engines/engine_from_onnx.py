"""From one ONNX file to an engine that decides as the file does: convert, compile, measure, compare, then keep.

Nothing is written where the comparison breaks a bound. Where the engine cannot be run here (TensorRT-RTX compiles for
GPUs that are elsewhere), the converted file is compared in its place, and the manifest says so.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from edgefr.engines.compilation import check_layers, compiled, newest_opset, place_of
from edgefr.engines.compiled_engine import CompiledEngine
from edgefr.engines.device_profile import Batch, Profile
from edgefr.engines.engine_cache import discard, engine_folder, published
from edgefr.engines.parity_gate import BOUNDS, Bound, ParityReport, check, compare
from edgefr.engines.precision.conversion import Conversion, converted
from edgefr.engines.precision.onnx_graph import read_graph
from edgefr.engines.precision.opset import lowered
from edgefr.errors import EdgefrError, require_extra
from edgefr.evaluation.pairs import Pairs
from edgefr.io.files import sha256_of
from edgefr.io.onnx_file import graph_precision
from edgefr.manifest import (
    Manifest,
    file_reference,
    model_digest,
    model_manifest,
    package_versions,
    read_manifest,
    write_manifest,
    write_model_manifest,
)
from edgefr.recognition.recogniser import Recogniser, open_recogniser
from edgefr.runtimes.engine_file import SUFFIXES, EngineKey, EngineRecord
from edgefr.types import Faces

LARGEST_RATIO = {"fp16": 0.75, "int8": 0.75}
"""The largest part of the FP32 file's bytes that a converted file may have. Engines hold code beside their weights,
for each GPU generation anew; their layers are counted instead."""

SMALL = 1 << 20
"""Below so many bytes a file's size says nothing of its weights."""


class GateError(EdgefrError):
    """An engine that decides otherwise than its model; the answer is no, not a failure."""

    exit_code = 1


@dataclass(frozen=True)
class Sample:
    """Aligned faces (N, 112, 112, 3) and pairs of them to compare on, and others (M, 112, 112, 3) to calibrate on."""

    faces: Faces
    pairs: Pairs | None
    calibration: Faces

    def digest(self) -> str:
        """Sixteen hexadecimal digits of all of it."""
        pairs = () if self.pairs is None else (self.pairs.first, self.pairs.second, self.pairs.same)
        asked = hashlib.sha256()
        for array in (self.faces, self.calibration, *pairs):
            asked.update(f"{array.shape} {array.dtype}".encode())
            asked.update(np.ascontiguousarray(array).data)
        return asked.hexdigest()[:16]


@dataclass(frozen=True)
class Built:
    """Where the engine lies, its manifest, and whether it was there already."""

    path: Path
    manifest: Manifest
    found: bool


def engine_from_onnx(
    model: Path,
    precision: str,
    runtime: str,
    profile: Profile,
    sample: Sample,
    root: Path,
    say: Callable[[str], None] = lambda text: None,
) -> Built:
    """Build the engine of `model` in `precision`, or find it in the cache below `root`.

    `say` is told of every step.

    Raises:
        GateError: the engine decides otherwise than the model in FP32.
        EdgefrError: the model, runtime or profile cannot be used, or the engine is not in `precision`; nothing is
            written then.
    """
    graph = read_graph(model)
    if (already := graph_precision(model).name) != "fp32":
        raise EdgefrError(
            "an FP32 model to build from", f"{model} in {already}", "give the file that `edgefr export` wrote"
        )
    known, bound = _known(model, precision), BOUNDS[precision]
    # Its manifest takes the thresholds over, and flips are counted at them: with others, or on other faces, or where
    # it is to keep another bound, it is made and compared anew.
    settings = repr((profile, known.thresholds, known.quality, bound, sample.digest()))
    key = EngineKey(model_digest(model), precision, place_of(runtime, profile), settings)
    folder = engine_folder(root, model.stem, key)
    if (kept := _kept(folder, runtime)) is not None:
        return kept
    reference = open_recogniser(model, "onnxruntime", "fp32")
    if (newest := newest_opset(runtime)) is not None:
        graph = lowered(graph, newest)
    with published(folder) as temporary:
        say(f"Converting {model.name} to {precision} ...")
        conversion = converted(graph, precision, sample.calibration, bound.cosine_min, runtime)
        file = temporary / "model.onnx"
        require_extra("onnx", "train").save(conversion.model, file)
        write_model_manifest(file, known)  # before the engine is made: its digest is of the file with its metadata
        say(f"Compiling with {runtime} ...")
        made = compiled(file, runtime, precision, profile, root)
        if made.layers is None:
            say(f"{runtime} does not tell what the engine's layers compute in; its manifest says so.")
        if precision in ("fp16", "int8"):
            graph_layers = graph_precision(file)
            check_layers({"fp32": graph_layers.fp32, "fp16": graph_layers.fp16, "int8": graph_layers.int8}, precision)
            _check_size(file, model, precision)
        manifest = _engine(known, model, key, conversion, made, profile.batch)
        write_manifest(made.path, manifest)
        say("Comparing with the model in FP32 ...")
        report = _gate(reference, made, file, manifest, sample, bound)
        manifest = _with(manifest, parity=asdict(report), compared=made.path.name if made.runs else file.name)
        write_manifest(made.path, manifest)
    return Built(folder / made.path.name, manifest, found=False)


def _gate(
    reference: Recogniser, made: CompiledEngine, file: Path, manifest: Manifest, sample: Sample, bound: Bound
) -> ParityReport:
    candidate = open_recogniser(made.path) if made.runs and made.path != file else open_recogniser(file, "onnxruntime")
    precision = manifest.engine["key"]["precision"]
    thresholds = sorted(entry.value for entry in manifest.thresholds_for("fp32"))
    report = compare(reference, candidate, sample.faces, sample.pairs, thresholds)
    if broken := check(report, bound):
        raise GateError(
            f"an {precision} engine that decides as {reference.source} does in FP32",
            f"that it does not ({'; '.join(broken)})",
            "nothing was written; build it in another precision",
        )
    return report


def _check_size(converted_file: Path, model: Path, precision: str) -> None:
    """What is called FP16 and has FP32's size is FP32.

    Raises:
        EdgefrError: the file is too large for its precision.
    """
    size, full = converted_file.stat().st_size, model.stat().st_size
    if full > SMALL and size > LARGEST_RATIO[precision] * full:
        raise EdgefrError(
            f"a file in {precision} of at most {LARGEST_RATIO[precision]:.0%} of the model's {full:,} bytes",
            f"{size:,}",
            "its weights are in a wider format; report the versions that `edgefr doctor` prints",
        )


def _known(model: Path, precision: str) -> Manifest:
    known = model_manifest(model) or Manifest("onnx", model.stem)
    made_from = known.made_from | {"onnx": file_reference(model)}
    return replace(
        known, kind=f"onnx {precision}", made_from=made_from, versions=package_versions("onnx", "onnxruntime")
    )


def _engine(
    known: Manifest, model: Path, key: EngineKey, conversion: Conversion, made: CompiledEngine, batch: Batch
) -> Manifest:
    record = EngineRecord(key, sha256_of(made.path), made.path.stat().st_size)
    measured: dict[str, Any] = {
        "layers": None if made.layers is None else dict(made.layers),
        "size_ratio": record.bytes / model.stat().st_size,
        "kept_fp32": list(conversion.kept),
        "calibrated_on": conversion.faces,
        "batch": asdict(batch),
    }
    return replace(known, kind="engine", engine=record.to_dict() | measured)


def _with(manifest: Manifest, **more: Any) -> Manifest:
    return replace(manifest, engine=manifest.engine | more)


def _kept(folder: Path, runtime: str) -> Built | None:
    """The engine in `folder`, if there is a whole one. A folder appears whole: what is damaged is removed, to be built
    again."""
    if not folder.is_dir():
        return None
    name = next((f"engine{suffix}" for suffix, made in SUFFIXES.items() if made == runtime), "model.onnx")
    path = folder / name
    with suppress(EdgefrError):  # the manifest cannot be read
        manifest = read_manifest(path) if path.is_file() else None
        if manifest is not None and sha256_of(path) == manifest.engine.get("sha256"):
            return Built(path, manifest, found=True)
    discard(folder)
    return None
