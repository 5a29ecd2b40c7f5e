"""Fuses recognisers into one ONNX graph without training: weights, a projection and their disagreement.

It is the baseline that a trained fusion has to beat, and needs no torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgefr.data.collections import person_of
from edgefr.engines.parity_gate import FP32, row_cosines
from edgefr.errors import EdgefrError, InvalidArgumentError, require_extra
from edgefr.evaluation.calibration import CalibrationFaces
from edgefr.evaluation.convention_measurement import ProbeSet, probe_losses, read_probe_set
from edgefr.evaluation.embedding_fusion import EmbeddingFusion, PartEmbeddings, fit_fusion
from edgefr.export.measured_manifest import calibrated
from edgefr.export.native_from_published import AdoptionFaces, Reporter
from edgefr.io.files import atomic_write
from edgefr.manifest import Manifest, model_digest, model_manifest, onnx_references, package_versions, write_manifest
from edgefr.recognition.published.core_graph import BATCH, upgrade_opset
from edgefr.recognition.published.native_graph import GraphBuilder, add_unit_outputs, insert_graph, save_with_manifest
from edgefr.recognition.recogniser import Recogniser, open_recogniser
from edgefr.types import EMBEDDING, INPUT_NAME, NORM, UNCERTAINTY, Floats

if TYPE_CHECKING:
    import onnx

FIT_PROBES, TEST_PROBES = 1200, 1200
"""Faces that weights and projection are measured on, and faces of other people that the result is shown on."""

TOLERANCE = 1e-3
"""Largest difference of norm and uncertainty from what numpy computes of the parts' outputs."""


@dataclass(frozen=True)
class Comparison:
    """One row of the table: how well people are named who had no part in fitting.

    Attributes:
        name: The recogniser, "concatenation", or "fused".
        weight: Its share of the similarity; None for the concatenation and the fused model.
        clean_loss: Mean loss of clean probes.
        degraded_loss: Mean loss of degraded probes.
        identified: Share of the degraded probes that are named right.
    """

    name: str
    weight: float | None
    clean_loss: float
    degraded_loss: float
    identified: float


@dataclass(frozen=True)
class FusedFile:
    """A fused file.

    Attributes:
        path: The file that was written.
        manifest: Its manifest.
        rows: The parts, their concatenation and the fused model.
        whitened: Whether the projection whitens.
        calibration_faces: Number of faces that the thresholds were measured on.
    """

    path: Path
    manifest: Manifest
    rows: tuple[Comparison, ...]
    whitened: bool
    calibration_faces: int


def fused_from_recognisers(
    files: Sequence[Path],
    output: Path,
    faces: AdoptionFaces,
    dim: int | None = None,
    reporter: Reporter = Reporter(),  # noqa: B008 - frozen
) -> FusedFile:
    """Fuse recognisers.

    Half of the people decide on weights and projection. Thresholds are measured on the others.

    Args:
        files: Two to four recognisers of edgefr, as `edgefr adopt` and `edgefr export` write them.
        output: The .onnx file to write.
        faces: Faces of people to measure on.
        dim: Length of the fused embedding. None keeps that of all together.
        reporter: Told what is being done.

    Raises:
        InvalidArgumentError: The output does not end in .onnx, or the faces are too few.
        WrongModelError: A file is no recogniser.
        EdgefrError: The graph differs from its parts. Nothing is written.
    """
    if output.suffix.lower() != ".onnx":
        raise InvalidArgumentError("an output that ends in .onnx", str(output), "choose another name with -o")
    if output.resolve() in {file.resolve() for file in files}:
        raise InvalidArgumentError("an output that is none of the inputs", str(output), "choose another name with -o")
    recognisers = [open_recogniser(file, "onnxruntime") for file in files]
    fit_faces, others = _halves(faces.chosen)
    probes = read_probe_set(fit_faces.names, faces.read_crops).first(FIT_PROBES)
    reporter.log(f"Embedding {len(probes.people)} faces with {len(files)} recognisers ...")
    parts = [_part(recogniser, probes) for recogniser in recognisers]
    reporter.log("Measuring weights ...")
    fusion = fit_fusion(parts, probes.people, dim)
    graph = _graph(files, fusion)
    with atomic_write(output) as temporary:
        save_with_manifest(graph, temporary, None)
        fused = open_recogniser(temporary, "onnxruntime")
        _compare_with_parts(fused, fusion, parts, probes)
        test = read_probe_set(others.names, faces.read_crops).first(TEST_PROBES)
        rows = _rows(files, recognisers, fused, fusion, test)
        manifest, count = calibrated(
            fused, others, faces.read_crops, _manifest(files, output, fusion), reporter.advance
        )
        manifest = replace(manifest, model_sha256=model_digest(temporary))
        save_with_manifest(graph, temporary, manifest)
    write_manifest(output, manifest)
    return FusedFile(output, manifest, rows, fusion.whitened, count)


def _halves(chosen: CalibrationFaces) -> tuple[CalibrationFaces, CalibrationFaces]:
    """The faces of every other person, in random order, and those of the rest."""
    people = sorted({person_of(name) for name in chosen.names})
    first = {people[index] for index in np.random.default_rng(1).permutation(len(people))[::2]}
    names = [tuple(name for name in chosen.names if (person_of(name) in first) == wanted) for wanted in (True, False)]
    description = f"{chosen.description}, people who had no part in fitting"
    return replace(chosen, names=names[0]), replace(chosen, names=names[1], description=description)


def _part(recogniser: Recogniser, probes: ProbeSet) -> PartEmbeddings:
    clean, degraded = recogniser.embed(probes.references), recogniser.embed(probes.probes)
    return PartEmbeddings(clean.embedding, degraded.embedding, clean.norm, degraded.norm)


def _graph(files: Sequence[Path], fusion: EmbeddingFusion) -> onnx.ModelProto:
    """One graph with all recognisers inside and the outputs `embedding`, `norm` and `uncertainty`."""
    build = GraphBuilder()
    outputs = [insert_graph(build, _native(file), {INPUT_NAME: INPUT_NAME}, f"net{n}/") for n, file in enumerate(files)]
    embeddings = [part[EMBEDDING] for part in outputs]
    weighted = [
        build.node("Mul", [name, build.weight(f"weight{n}", fusion.weights[n])], f"weighted{n}")
        for n, name in enumerate(embeddings)
    ]
    joined = build.node("Concat", weighted, "joined", axis=1)
    if not np.array_equal(fusion.projection, np.eye(len(fusion.projection))):
        joined = build.node("MatMul", [joined, build.weight("projection", fusion.projection)], "projected")
    add_unit_outputs(build, joined, "joined_length")
    _add_norm(build, [part[NORM] for part in outputs], fusion)
    _add_uncertainty(build, embeddings, fusion)
    return build.model({EMBEDDING: [BATCH, fusion.projection.shape[1]], NORM: [BATCH], UNCERTAINTY: [BATCH]})


def _native(file: Path) -> Any:
    """The graph of a recogniser in the operator set of the fused one."""
    return upgrade_opset(require_extra("onnx", "onnx").load(file), file)


def _add_norm(build: GraphBuilder, norms: Sequence[str], fusion: EmbeddingFusion) -> None:
    count = len(norms)
    scaled = [
        build.node("Mul", [name, build.weight(f"norm_scale{n}", 1 / (count * fusion.typical_norms[n]))], f"norm{n}")
        for n, name in enumerate(norms)
    ]
    build.node("Sum", scaled, NORM)


def _add_uncertainty(build: GraphBuilder, embeddings: Sequence[str], fusion: EmbeddingFusion) -> None:
    """The logarithm of the parts' disagreement; see `EmbeddingFusion.uncertainty`."""
    last = build.weight("uncertainty_axis", [1], np.int64)
    shortest = build.weight("shortest_prediction", 1e-12)
    cosines = []
    for n, own in enumerate(embeddings):
        rest = [name for other, name in enumerate(embeddings) if other != n]
        others = build.node("Concat", rest, f"others{n}", axis=1)
        predicted = build.node("MatMul", [others, build.weight(f"predictor{n}", fusion.predictors[n])], f"predicted{n}")
        length = build.node("ReduceL2", [predicted, last], f"predicted_length{n}", keepdims=0)
        product = build.node("Mul", [predicted, own], f"agreement{n}")
        dot = build.node("ReduceSum", [product, last], f"dot{n}", keepdims=0)
        divisor = build.node("Max", [length, shortest], f"predicted_divisor{n}")
        cosines.append(build.node("Div", [dot, divisor], f"cosine{n}"))
    share = build.weight("share_of_each", 1 / len(cosines))
    mean = build.node("Mul", [build.node("Sum", cosines, "agreements"), share], "mean_agreement")
    distance = build.node("Sub", [build.weight("one", 1.0), mean], "disagreement")
    build.node("Log", [build.node("Max", [distance, build.weight("least", 1e-6)], "bounded")], UNCERTAINTY)


def _compare_with_parts(
    fused: Recogniser, fusion: EmbeddingFusion, parts: Sequence[PartEmbeddings], probes: ProbeSet
) -> None:
    """Compare the graph with what numpy makes of the parts' own outputs."""
    found = fused.embed(probes.references)
    clean = [part.clean for part in parts]
    lowest = float(row_cosines(found.embedding, fusion.join(clean)).min())
    assert found.uncertainty is not None  # the graph has the output
    differences = {
        "norm": found.norm - fusion.norm([part.norm for part in parts]),
        "uncertainty": found.uncertainty - fusion.uncertainty(clean),
    }
    largest = {name: float(np.abs(values).max()) for name, values in differences.items()}
    if not (lowest > FP32.cosine_min and max(largest.values()) <= TOLERANCE):  # "not" also refuses NaN
        raise EdgefrError(
            "the fused graph to give what its parts give",
            f"a lowest cosine of {lowest:.6f} and differences of {largest} on {len(found.norm)} faces",
            "report this with the versions that `edgefr doctor` prints. Nothing was written",
        )


def _rows(
    files: Sequence[Path],
    recognisers: Sequence[Recogniser],
    fused: Recogniser,
    fusion: EmbeddingFusion,
    test: ProbeSet,
) -> tuple[Comparison, ...]:
    parts = [_part(recogniser, test) for recogniser in recognisers]
    rows = [
        _row(file.stem, float(weight**2), part.clean, part.degraded, test)
        for file, weight, part in zip(files, fusion.weights, parts, strict=True)
    ]
    equal = [np.concatenate([getattr(part, name) for part in parts], axis=1) for name in ("clean", "degraded")]
    scale = np.float32(len(parts) ** -0.5)
    rows.append(_row("concatenation", None, equal[0] * scale, equal[1] * scale, test))
    own = _part(fused, test)
    return (*rows, _row("fused", None, own.clean, own.degraded, test))


def _row(name: str, weight: float | None, clean: Floats, degraded: Floats, test: ProbeSet) -> Comparison:
    loss, identified = probe_losses(clean, degraded, test.people)
    clean_loss = probe_losses(clean, clean, test.people)[0]
    return Comparison(name, weight, float(clean_loss.mean()), float(loss.mean()), float(identified.mean()))


def _manifest(files: Sequence[Path], output: Path, fusion: EmbeddingFusion) -> Manifest:
    made_from: dict[str, dict[str, str]] = {}
    for number, file in enumerate(files, 1):
        made_from |= onnx_references(f"recogniser {number}", file)
    spec = {
        "fused": [file.stem for file in files],
        "weights": [round(float(weight**2), 4) for weight in fusion.weights],
        "whitened": fusion.whitened,
        "embedding_dim": int(fusion.projection.shape[1]),
    }
    manifests = [model_manifest(file) for file in files]
    trained_on = "; ".join(dict.fromkeys(one.trained_on for one in manifests if one is not None and one.trained_on))
    return Manifest("onnx", output.stem, spec, made_from, trained_on, versions=package_versions("onnx", "onnxruntime"))
