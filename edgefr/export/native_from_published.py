"""Adopts a recogniser of another project: finds out what it expects, and writes it with edgefr's input and outputs.

What the file cannot say (colours, mean, scale) comes from the user, from the catalogue of published models, or from a
measurement on faces.
"""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from edgefr.catalogue import Entry, by_digest
from edgefr.engines.parity_gate import FP32, row_cosines
from edgefr.errors import EdgefrError, InvalidArgumentError, require_extra
from edgefr.evaluation.calibration import CalibrationFaces
from edgefr.evaluation.convention_measurement import Measured, measure_conventions, read_probe_set
from edgefr.evaluation.protocols import CLEAN, CropReader
from edgefr.export.measured_manifest import Advance, calibrated, no_progress
from edgefr.io.files import atomic_write
from edgefr.manifest import (
    Manifest,
    file_reference,
    model_digest,
    onnx_references,
    original_digest,
    package_versions,
    write_manifest,
)
from edgefr.recognition.published.convention import Convention, common_conventions
from edgefr.recognition.published.core_graph import PIXELS
from edgefr.recognition.published.core_worker import read_published_net
from edgefr.recognition.published.native_graph import crop_for, native_from_core, save_with_manifest
from edgefr.recognition.published.published_net import PublishedNet
from edgefr.recognition.recogniser import open_recogniser
from edgefr.runtimes import open_backend
from edgefr.types import FACE_SIZE, Faces, Floats

if TYPE_CHECKING:
    from edgefr.runtimes.base import Backend

FACES_AT_ONCE, SAMPLE = 16, 32
"""Faces that a core graph gets at once, and that both graphs are compared on."""

Source = Literal["option", "catalogue", "measurement"]

CHECKPOINTS = (".pt", ".pth", ".ckpt", ".safetensors")


@dataclass(frozen=True)
class Candidate:
    """A convention, and the output that is taken for the embedding."""

    convention: Convention
    output: str

    def __str__(self) -> str:
        return f"{self.convention}; {self.output}"


@dataclass(frozen=True)
class Adopted:
    """An adopted recogniser.

    Attributes:
        path: The file that was written.
        manifest: Its manifest.
        chosen: Convention and output.
        source: Where the convention comes from.
        measured: What was measured of the candidates, the best first. Empty if nothing was measured.
        calibration_faces: Number of faces that the thresholds were measured on.
    """

    path: Path
    manifest: Manifest
    chosen: Candidate
    source: Source
    measured: tuple[Measured, ...]
    calibration_faces: int


@dataclass(frozen=True)
class AdoptionFaces:
    """Faces of known people, and the reader of their aligned crops."""

    chosen: CalibrationFaces
    read_crops: CropReader


@dataclass(frozen=True)
class Reporter:
    """Where progress goes: a text for each step, and a bar for the faces of the calibration."""

    log: Callable[[str], None] = lambda text: None
    advance: Advance = field(default=no_progress)


def native_from_published(
    source: Path,
    output: Path,
    faces: AdoptionFaces | None,
    convention: Convention | None = None,
    output_name: str | None = None,
    with_thresholds: bool = True,
    reporter: Reporter = Reporter(),
) -> Adopted:
    """Adopt a recogniser.

    Args:
        source: The file of its publisher: .onnx, or a checkpoint of a known architecture.
        output: The .onnx file to write.
        faces: Faces to measure the convention and thresholds on. None if the convention is known; there are no
            thresholds then.
        convention: What the net expects, if the user knows it.
        output_name: The output that is the embedding, if the user knows it.
        with_thresholds: Whether to measure thresholds, if there are faces.
        reporter: Told what is being done.

    Raises:
        InvalidArgumentError: The output does not end in .onnx, or a measurement is needed and there are no faces.
        WrongModelError: The file is no recogniser.
        UnclearConventionError: No convention is clearly best. Nothing is written.
        EdgefrError: The written graph differs from the published one. Nothing is written.
    """
    if output.suffix.lower() != ".onnx":
        raise InvalidArgumentError("an output that ends in .onnx", str(output), "choose another name with -o")
    if convention is not None and source.suffix.lower() in CHECKPOINTS:
        raise InvalidArgumentError(
            "no --colour, --mean and --std for a checkpoint, whose architecture defines them",
            "all three",
            "leave them out, or export it with `edgefr export CHECKPOINT --colour rgb -o model.onnx`",
        )
    with tempfile.TemporaryDirectory() as folder:
        core_path = Path(folder) / "core.onnx"
        reporter.log(f"Reading {source.name} ...")
        net = read_published_net(_as_onnx(source, Path(folder)), core_path)
        core = open_backend(core_path, "onnxruntime")
        entry = by_digest(original_digest(source))
        known = convention or _known_convention(source, entry, faces is not None)
        candidates = _candidates(source, net, known, output_name, "catalogue" if convention is None else "option")
        measured = _measure(core, net, candidates.tried, faces, reporter) if len(candidates.tried) > 1 else ()
        chosen = candidates.tried[measured[0].index if measured else 0]
        graph = native_from_core(require_extra("onnx", "onnx").load(core_path), net, chosen.convention, chosen.output)
        with atomic_write(output) as temporary:
            save_with_manifest(graph, temporary, None)
            sample = _sample_faces(faces)
            _compare(sample, embed_with(core, net, chosen, sample), temporary)
            manifest = _manifest(source, entry, output.stem, net, chosen, candidates.source)
            count = 0
            if faces is not None and with_thresholds:
                manifest, count = calibrated(
                    open_recogniser(temporary, "onnxruntime"),
                    faces.chosen,
                    faces.read_crops,
                    manifest,
                    reporter.advance,
                )
            manifest = replace(manifest, model_sha256=model_digest(temporary))
            save_with_manifest(graph, temporary, manifest)
    write_manifest(output, manifest)
    return Adopted(output, manifest, chosen, candidates.source, measured, count)


@dataclass(frozen=True)
class _Candidates:
    tried: tuple[Candidate, ...]
    source: Source


def _candidates(
    source: Path, net: PublishedNet, known: Convention | None, output_name: str | None, known_from: Source
) -> _Candidates:
    """The candidates, more than one if a measurement has to decide."""
    if output_name is not None and output_name not in net.outputs:
        raise InvalidArgumentError(
            f"one of the outputs {', '.join(net.outputs)} of {source}", output_name, "choose another --output-name"
        )
    outputs = tuple(net.outputs) if output_name is None else (output_name,)
    if known is not None:
        conventions: tuple[Convention, ...] = (known,)
    elif net.dtype == "uint8":  # it normalises inside
        conventions = tuple(Convention(colour) for colour in ("rgb", "bgr"))
    else:
        conventions = common_conventions(net.size)
    tried = tuple(Candidate(convention, name) for convention in conventions for name in outputs)
    return _Candidates(tried, known_from if len(tried) == 1 else "measurement")


def _known_convention(source: Path, entry: Entry | None, has_faces: bool) -> Convention | None:
    """What the catalogue says about a file of this content.

    A checkpoint is loaded as a network that takes RGB in [-1, 1], whatever its publisher's code takes. This is measured
    if there are faces, because the loader can only assume the order of colours.
    """
    if source.suffix.lower() in CHECKPOINTS:
        return None if has_faces else Convention()
    if entry is None or entry.input is None:
        return None
    known = entry.input
    mean, std = (values * 3 if len(values) == 1 else values for values in (known.mean, known.std))
    return Convention(known.colour, mean, std)  # type: ignore[arg-type]


def _as_onnx(source: Path, folder: Path) -> Path:
    """The file itself, or a checkpoint as an ONNX file with one float input."""
    if source.suffix.lower() not in CHECKPOINTS:
        return source
    require_extra("torch", "train")
    from edgefr.export.onnx_from_checkpoint import classic_from_backbone

    return classic_from_backbone(source, folder / "checkpoint.onnx")


def _measure(
    core: Backend,
    net: PublishedNet,
    tried: tuple[Candidate, ...],
    faces: AdoptionFaces | None,
    reporter: Reporter,
) -> tuple[Measured, ...]:
    if faces is None:
        raise InvalidArgumentError(
            "faces to measure the net's input convention on",
            "none",
            "give pictures by person with --faces, or name the convention with --colour, --mean and --std",
        )
    probes = read_probe_set(faces.chosen.names, faces.read_crops)

    def embed(index: int, some: Faces) -> Floats:
        return embed_with(core, net, tried[index], some)

    several = len({candidate.output for candidate in tried}) > 1
    names = [str(candidate) if several else str(candidate.convention) for candidate in tried]
    return measure_conventions(embed, names, probes, reporter.log)


def embed_with(core: Backend, net: PublishedNet, candidate: Candidate, faces: Faces) -> Floats:
    """Embeddings of a core graph.

    Args:
        core: The open core graph.
        net: Its input and outputs.
        candidate: Convention and output to use.
        faces: (N, 112, 112, 3) uint8 RGB.

    Returns:
        (N, K) float32, not normalised.
    """
    found = []
    for start in range(0, len(faces), FACES_AT_ONCE):
        pixels = _prepared(faces[start : start + FACES_AT_ONCE], net, candidate.convention)
        answers = core.infer({PIXELS: pixels})[candidate.output]
        found.append(answers.reshape(len(pixels), -1).astype(np.float32))
    return np.concatenate(found)


def _prepared(faces: Faces, net: PublishedNet, convention: Convention) -> Any:
    """Faces (N, 112, 112, 3) as the net takes them."""
    resized = _resized(faces, net.size)
    if net.dtype == "uint8":
        ordered = resized if convention.colour == "rgb" else resized[..., ::-1]
        pixels: Any = np.clip(ordered, 0, 255).astype(np.uint8)
    else:
        pixels = convention.apply(resized)
    if not net.channels_last:
        pixels = pixels.transpose(0, 3, 1, 2)
    return np.ascontiguousarray(pixels, net.dtype)


def _resized(faces: Faces, size: tuple[int, int]) -> Any:
    """Faces (N, 112, 112, 3) in the size of the net, float32 unless it is 112x112; see `native_graph`."""
    import cv2

    height, width = size
    rows, columns = crop_for(size)
    top, left = (FACE_SIZE - rows) // 2, (FACE_SIZE - columns) // 2
    cut = faces[:, top : top + rows, left : left + columns]
    if (rows, columns) == size:
        return cut
    scaled = [cv2.resize(face.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR) for face in cut]
    return np.stack(scaled)


def _sample_faces(faces: AdoptionFaces | None) -> Faces:
    """A few faces to compare both graphs on. Without any, smooth random pictures serve: no extra is needed then."""
    if faces is None:
        coarse = np.random.default_rng(0).integers(0, 256, (SAMPLE, 8, 8, 3), np.uint8)
        return np.repeat(np.repeat(coarse, FACE_SIZE // 8, axis=1), FACE_SIZE // 8, axis=2)
    crops = (faces.read_crops(name, [CLEAN])[0] for name in faces.chosen.names)
    return np.stack([crop.face for crop in itertools.islice((crop for crop in crops if crop is not None), SAMPLE)])


def _compare(faces: Faces, expected: Floats, path: Path) -> None:
    """Compare the written graph with the core that got faces prepared outside of it."""
    recogniser = open_recogniser(path, "onnxruntime")
    lowest = float(row_cosines(recogniser.embed(faces).embedding, expected).min())
    if not lowest > FP32.cosine_min:  # "not >" also refuses NaN
        raise EdgefrError(
            "the embeddings of the published net from the written graph",
            f"a lowest cosine of {lowest:.6f} on {len(faces)} faces",
            "report this with the versions that `edgefr doctor` prints. Nothing was written",
        )


def _manifest(
    source: Path, entry: Entry | None, name: str, net: PublishedNet, chosen: Candidate, origin: Source
) -> Manifest:
    spec = {
        "published": source.name if entry is None else entry.name,
        "convention": chosen.convention.to_dict(),
        "convention_from": origin,
        "output": chosen.output,
        "input_size": list(net.size),
    }
    made_from = (
        onnx_references("published", source)
        if source.suffix.lower() == ".onnx"
        else {"published": file_reference(source)}
    )
    trained_on = "" if entry is None else entry.trained_on
    return Manifest("onnx", name, spec, made_from, trained_on, versions=package_versions("onnx", "onnxruntime"))
