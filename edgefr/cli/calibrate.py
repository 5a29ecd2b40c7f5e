"""edgefr calibrate"""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgefr.cli.options import (
    FaceOption,
    JsonOption,
    PhotographsDetectorOption,
    PrecisionOption,
    RuntimeOption,
    folds_of,
)
from edgefr.cli.output import print_json, progress, table, warn
from edgefr.errors import EdgefrError
from edgefr.manifest import Signal

if TYPE_CHECKING:
    from edgefr.evaluation.calibration import Chosen
    from edgefr.manifest import HeldOut, QualityLimit, Threshold
    from edgefr.runtimes.base import Description


def calibrate(
    model: Annotated[Path, typer.Argument(help="An .onnx file or a fused .safetensors; its manifest is rewritten.")],
    faces: Annotated[Path, typer.Argument(help="Pictures by person: aligned faces, or photographs.")],
    fmr: Annotated[
        list[float], typer.Option(help="A false match rate to measure the threshold at; may be given several times.")
    ] = [1e-2, 1e-3],  # noqa: B006 - typer reads it, nobody writes to it
    pairs: Annotated[Path | None, typer.Option(help="LFW's pairs file, to take the people of some folds only.")] = None,
    folds: Annotated[str | None, typer.Option(help="Those folds, such as 1-5 or 1,3.")] = None,
    quality: Annotated[
        Signal | None,
        typer.Option(help="Also measure below which value of this signal a face is too poor to be judged."),
    ] = None,
    detector: PhotographsDetectorOption = None,
    face: FaceOption = "largest",
    runtime: RuntimeOption = "auto",
    precision: PrecisionOption = "fp32",
    json: JsonOption = False,
) -> None:
    """Measure thresholds on faces of your own; a model that was trained on these people is warned of.

    They go into the model's manifest, for the precision that they were measured in; `edgefr verify --fmr` uses them,
    and those of fp32 for a precision that has none. A limit of quality is what all but 1 % of the faces reach, of
    which there have to be 3,000; `edgefr verify` warns of faces below it. The detector's score is that of photographs.
    """
    from edgefr.evaluation.calibration import choose, measure
    from edgefr.evaluation.face_provider import FaceProvider
    from edgefr.manifest import Manifest, model_manifest, write_model_manifest
    from edgefr.recognition.recogniser import open_recogniser

    if not model.is_file():
        raise EdgefrError("a model file to write thresholds into", f"none at {model}", "check the path")
    finder = FaceProvider.open(detector, face)
    if quality == "detector" and finder.detector is None:
        raise EdgefrError("a detector for --quality detector", "none", "give one with --detector")
    named = () if folds is None else tuple(sorted(folds_of(folds)))
    manifest = model_manifest(model) or Manifest(model.suffix.lower().removeprefix("."), model.stem)
    chosen = _doubted(choose(faces, pairs, named), pairs, named, model, manifest.held_out)
    recogniser = open_recogniser(model, runtime, precision, images=len(chosen.names))
    with progress("Embedding", len(chosen.names)) as advance:
        thresholds, limit = measure(recogniser, chosen, finder.within(chosen.folder), fmr, quality, advance)
    if limit is not None and limit.signal == "detector" and finder.detector is not None:
        limit = replace(limit, detector=finder.detector.name)
    manifest = replace(manifest.with_thresholds(thresholds), quality=limit or manifest.quality)
    write_model_manifest(model, manifest)
    description = recogniser.description
    if json:
        print_json(
            {
                "model": str(model),
                "runtime": description.runtime,
                "precision": description.precision,
                "images": len(chosen.names),
                "thresholds": [asdict(entry) for entry in thresholds],
                "quality": None if limit is None else asdict(limit),
            }
        )
    else:
        print(_text(model, description, thresholds, limit))


def _doubted(
    chosen: Chosen, pairs: Path | None, folds: tuple[int, ...], model: Path, held_out: HeldOut | None
) -> Chosen:
    """The same people, said to be those that the model was trained on if they are; told on stderr before the work."""
    from edgefr.evaluation.train_test_overlap import overlap_warnings
    from edgefr.io.files import sha256_of

    if held_out is None:
        return chosen
    sha256, folder = None if pairs is None else sha256_of(pairs), chosen.folder
    found = overlap_warnings(
        {model.stem: held_out}, sha256, folds, {folder.path.name: folder.path}, lambda _: folder.digest()
    )
    for doubt in found:
        warn(f"edgefr: {doubt}")
    return replace(chosen, whose=f"{chosen.whose}, who were also trained on") if found else chosen


def _text(model: Path, description: Description, thresholds: tuple[Threshold, ...], limit: QualityLimit | None) -> str:
    rows = [[f"{entry.fmr:g}", f"{entry.value:.4f}", "{:.4f} to {:.4f}".format(*entry.ci95)] for entry in thresholds]
    lines = [
        f"{model.name} on {description.runtime} {description.precision}, {thresholds[0].measured_on}",
        table(["FMR", "threshold", "95 % interval"], rows),
    ]
    if limit is not None:
        lines.append(f"A face is too poor with a {limit.signal} below {limit.limit:.3g}, by {limit.measured_on}.")
    return "\n".join(lines)
