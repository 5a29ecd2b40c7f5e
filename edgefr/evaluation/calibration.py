"""Calibrates thresholds at false match rates and quality limits, in the precision that they will be used in.

They hold for faces like those they were measured on. Calibrate on people like those who will be verified, and not on
those that accuracy is measured on afterwards. `Threshold.measured_on` records who they were.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

import numpy as np

from edgefr.choices import Signal
from edgefr.data.collections import FaceFolder, open_faces, person_of
from edgefr.data.lfw_pairs import people_of, read_pairs
from edgefr.errors import InvalidArgumentError, NoFaceError, WrongModelError
from edgefr.evaluation.error_versus_discard import quality_limit
from edgefr.evaluation.face_provider import FaceProvider
from edgefr.evaluation.fmr_thresholds import check_supported, count_impostor_pairs, threshold_at_fmr
from edgefr.evaluation.protocols import CLEAN, CropReader, FaceCrop
from edgefr.evaluation.train_test_overlap import overlap_warnings
from edgefr.io.files import sha256_of
from edgefr.manifest import HeldOut, Manifest, QualityLimit, Threshold, model_manifest, write_model_manifest
from edgefr.recognition.recogniser import Embeddings, Recogniser, open_recogniser
from edgefr.runtimes.base import Description
from edgefr.types import UNCERTAINTY, Floats, Ints

CHUNK = 256
"""Faces that are read at once: a large collection would fill the memory."""

DISCARD = 0.01
"""Share of the calibration faces that is below a quality limit."""


@dataclass(frozen=True)
class CalibrationFaces:
    """The pictures of a collection to calibrate on, who is on them in words, and why the figures can be wrong."""

    folder: FaceFolder
    names: tuple[str, ...]
    description: str
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Calibration:
    """What was measured.

    Attributes:
        description: The model as it was run.
        images: Number of pictures.
        thresholds: The thresholds.
        quality: The quality limit, if one was measured.
        kept: Thresholds of other rates that the manifest keeps at this precision.
        dropped: Those that it does not have, because they contradict these: a lower threshold would promise a lower
            false match rate.
    """

    description: Description
    images: int
    thresholds: tuple[Threshold, ...]
    quality: QualityLimit | None
    kept: tuple[Threshold, ...] = ()
    dropped: tuple[Threshold, ...] = ()


def select_faces(
    faces: Path,
    pairs: Path | None = None,
    folds: tuple[int, ...] = (),
    held_out: Mapping[str, HeldOut] = MappingProxyType({}),
) -> CalibrationFaces:
    """Select the pictures to calibrate on.

    Args:
        faces: A collection of faces.
        pairs: LFW's pairs file, to take only the people of some folds.
        folds: Those folds.
        held_out: Name of a model -> the people whom it was not trained on, for those of which they are known.

    Returns:
        The pictures, with a warning for each model that was trained on the people they show.

    Raises:
        InvalidArgumentError: Only one of `pairs` and `folds` is given, or nobody is left.
        EdgefrError: A file cannot be read.
    """
    folder = open_faces(faces)
    names, description = tuple(folder.names), faces.name
    if (pairs is None) != (not folds):
        raise InvalidArgumentError("a pairs file and folds", "one of them", "give both --pairs and --folds")
    if pairs is not None:
        people, listed = people_of(read_pairs(pairs), folds), ", ".join(map(str, folds))
        names = tuple(name for name in names if person_of(name) in people)
        description = f"{faces.name} (people of folds {listed} of {pairs.name})"
        if not names:
            raise InvalidArgumentError(
                f"people of folds {listed} of {pairs} in {faces}",
                "none",
                "give the faces that belong to the pairs file, or other folds",
            )
    warnings = overlap_warnings(
        held_out,
        None if pairs is None or not held_out else sha256_of(pairs),
        folds,
        {faces.name: faces},
        lambda _: folder.digest(),
    )
    description += ", who were also trained on" if warnings else ""
    return CalibrationFaces(folder, names, description, tuple(warnings))


def calibrate_model(
    model: Path,
    chosen: CalibrationFaces,
    provider: FaceProvider,
    fmrs: Sequence[float],
    signal: Signal | None = None,
    runtime: str = "auto",
    precision: str = "fp32",
    progress: Callable[[int], None] | None = None,
    keep_stricter: bool = False,
    conservative: bool = False,
) -> Calibration:
    """Calibrate a model and write the result into its manifest.

    Args:
        model: An .onnx file or another model with a manifest.
        chosen: The pictures to calibrate on.
        provider: Finds their faces.
        fmrs: False match rates to measure thresholds at.
        signal: Quality signal to measure a limit of, if any.
        runtime: Name of the runtime, or "auto".
        precision: Precision to run the model in.
        progress: Called with the number of pictures of every batch.
        keep_stricter: Keep a threshold of the manifest that is higher than the one measured here at the same rate, and
            write none that is lower than one of the manifest at a higher rate.
        conservative: Take the upper end of each interval, so that other people, too, keep the rate.

    Returns:
        What the manifest has now at these rates, and the limit that was measured.

    Raises:
        EdgefrError: As for `calibrate`, or the manifest cannot be written.
    """
    manifest = model_manifest(model) or Manifest(model.suffix.lower().removeprefix("."), model.stem)
    if manifest.is_outdated(model):
        manifest = replace(manifest, thresholds=(), quality=None)
    recogniser = open_recogniser(model, runtime, precision, images=len(chosen.names))
    thresholds, limit = calibrate(recogniser, chosen, provider.crops_of(chosen.folder), fmrs, signal, progress)
    if limit is not None and signal == "detector" and provider.detector is not None:
        limit = replace(limit, detector=provider.detector.name)
    too_low: tuple[Threshold, ...] = ()
    if conservative:
        thresholds = tuple(replace(found, value=found.ci95[1]) for found in thresholds)
    if keep_stricter:
        stricter = [_stricter(found, manifest.thresholds) for found in thresholds]
        too_low = tuple(found for found in stricter if any(_is_too_low(found, entry) for entry in manifest.thresholds))
        thresholds = tuple(found for found in stricter if found not in too_low)
    dropped = tuple(entry for entry in manifest.thresholds if any(_contradict(entry, found) for found in thresholds))
    manifest = replace(manifest, thresholds=tuple(entry for entry in manifest.thresholds if entry not in dropped))
    manifest = manifest.with_thresholds(thresholds)
    write_model_manifest(model, replace(manifest, quality=limit or manifest.quality))
    kept = tuple(
        entry
        for entry in manifest.thresholds
        if entry not in thresholds and entry.precision == recogniser.description.precision and entry.fmr is not None
    )
    dropped = tuple(dict.fromkeys((*too_low, *dropped)))
    return Calibration(recogniser.description, len(chosen.names), thresholds, limit, kept, dropped)


def _contradict(one: Threshold, other: Threshold) -> bool:
    """Whether one of two thresholds of a precision is lower and yet promises a lower false match rate."""
    return _is_too_low(one, other) or _is_too_low(other, one)


def _is_too_low(found: Threshold, other: Threshold) -> bool:
    """Whether a threshold is lower than another one of its precision, and yet promises a lower false match rate."""
    if found.precision != other.precision or found.fmr is None or other.fmr is None:
        return False
    return found.fmr < other.fmr and found.value < other.value


def _stricter(found: Threshold, known: Sequence[Threshold]) -> Threshold:
    """The highest of a threshold and those that are known at its rate and precision."""
    same = (entry for entry in known if (entry.fmr, entry.precision) == (found.fmr, found.precision))
    return max((found, *same), key=lambda entry: entry.value)


def calibrate(
    recogniser: Recogniser,
    chosen: CalibrationFaces,
    read_crops: CropReader,
    fmrs: Sequence[float],
    signal: Signal | None = None,
    progress: Callable[[int], None] | None = None,
) -> tuple[tuple[Threshold, ...], QualityLimit | None]:
    """Measure thresholds, and the quality limit that all but 1 % of the faces reach.

    Args:
        recogniser: The model.
        chosen: The pictures to calibrate on. A picture in which no face is found is left out.
        read_crops: Reads their faces.
        fmrs: False match rates to measure thresholds at.
        signal: Quality signal to measure a limit of, if any.
        progress: Called with the number of pictures of every batch.

    Returns:
        The threshold at each rate, and the limit.

    Raises:
        InvalidArgumentError: There are too few faces, or the pictures do not have the signal. It is raised before any
            face is embedded.
        WrongModelError: The model does not give the signal.
        EdgefrError: A picture cannot be read, or no picture shows a face.
    """
    _, labels = np.unique([person_of(name) for name in chosen.names], return_inverse=True)
    for fmr in fmrs:
        count_impostor_pairs(labels, fmr)
    if signal is not None:
        check_supported(DISCARD, len(labels), "faces")
    if signal == "certainty" and UNCERTAINTY not in {info.name for info in recogniser.description.outputs}:
        raise WrongModelError(
            "a model with an uncertainty output, which the signal certainty needs",
            "one without",
            "calibrate with --quality norm",
        )
    found = _embed(recogniser, chosen, read_crops, signal, progress)
    label = labels[found.index].astype(np.int64)
    thresholds = tuple(_threshold(found.embedding, label, fmr, recogniser, chosen) for fmr in fmrs)
    if found.quality is None or signal is None:
        return thresholds, None
    measured_on = f"{len(found.quality):,} faces in {chosen.description}, of which {DISCARD:.0%} lie below"
    return thresholds, QualityLimit(signal, quality_limit(found.quality, DISCARD), measured_on)


@dataclass(frozen=True)
class _Embedded:
    """N faces: the index (N,) of each picture, the embeddings (N, K) of unit length, and the signal (N,)."""

    index: Ints
    embedding: Floats
    quality: Floats | None


def _embed(
    recogniser: Recogniser,
    chosen: CalibrationFaces,
    read_crops: CropReader,
    signal: Signal | None,
    progress: Callable[[int], None] | None,
) -> _Embedded:
    indices, embeddings, qualities = [], [], []
    for start in range(0, len(chosen.names), CHUNK):
        names = chosen.names[start : start + CHUNK]
        crops = [crop for name in names for crop in read_crops(name, [CLEAN])]
        found = [crop for crop in crops if crop is not None]
        if signal in ("detector", "sharpness") and not all(signal in crop.signals for crop in found):
            raise InvalidArgumentError(
                f"pictures with the signal {signal}",
                "aligned faces",
                "give photographs, and a detector with --detector",
            )
        indices += [start + index for index, crop in enumerate(crops) if crop is not None]
        if found:
            output = recogniser.embed(np.stack([crop.face for crop in found]))
            embeddings.append(output.embedding)
            if signal is not None:
                qualities.append(_quality(signal, output, found))
        if progress is not None:
            progress(len(names))
    if not embeddings:
        raise NoFaceError(
            f"a face in at least one of {len(chosen.names)} pictures",
            "none",
            "give pictures of faces turned to the camera",
        )
    quality = np.concatenate(qualities) if qualities else None
    return _Embedded(np.array(indices, np.int64), np.concatenate(embeddings), quality)


def _quality(signal: Signal, output: Embeddings, crops: Sequence[FaceCrop]) -> Floats:
    """The signal of faces (N,), higher for a better one."""
    if signal == "norm":
        return output.norm
    if signal == "certainty":
        assert output.uncertainty is not None  # checked before
        return -output.uncertainty
    return np.array([crop.signals[signal] for crop in crops], np.float32)


def _threshold(
    embedding: Floats, labels: Ints, fmr: float, recogniser: Recogniser, chosen: CalibrationFaces
) -> Threshold:
    found = threshold_at_fmr(embedding, labels, fmr)
    runtime, precision = recogniser.description.runtime, recogniser.description.precision
    measured_on = f"{found.pairs:,} impostor pairs of {found.people:,} people in {chosen.description}, with {runtime}"
    return Threshold(found.fmr, found.value, found.ci95, measured_on, precision)
