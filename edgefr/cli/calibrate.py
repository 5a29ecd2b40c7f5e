"""edgefr calibrate"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgefr.choices import Signal
from edgefr.cli.face_collection import chosen_faces, held_out_of
from edgefr.cli.options import (
    FaceOption,
    FoldsOption,
    JsonOption,
    PairsOption,
    PhotographsDetectorOption,
    PrecisionOption,
    RuntimeOption,
)
from edgefr.cli.output import print_json, progress, threshold_table
from edgefr.errors import InvalidArgumentError
from edgefr.models import SHIPPED, find_model

if TYPE_CHECKING:
    from edgefr.evaluation.calibration import Calibration
    from edgefr.manifest import Threshold


def calibrate(
    model: Annotated[Path, typer.Argument(help="An .onnx file or a fused .safetensors; its manifest is rewritten.")],
    faces: Annotated[Path, typer.Argument(help="Pictures by person: aligned faces, or photographs.")],
    fmr: Annotated[
        list[float], typer.Option(help="A false match rate to measure the threshold at; may be given several times.")
    ] = [1e-2, 1e-3],  # noqa: B006 - typer reads it, nobody writes to it
    pairs: PairsOption = None,
    folds: FoldsOption = None,
    quality: Annotated[
        Signal | None,
        typer.Option(help="Also measure the value of this signal below which a face is too poor for a decision."),
    ] = None,
    quality_only: Annotated[
        bool, typer.Option("--quality-only", help="With --quality: keep all thresholds, and measure no others.")
    ] = False,
    keep_stricter: Annotated[
        bool,
        typer.Option(
            "--keep-stricter",
            help="Keep higher thresholds that the manifest has at these rates: for faces of a second source.",
        ),
    ] = False,
    conservative: Annotated[
        bool,
        typer.Option(
            "--conservative",
            help="Use the upper end of each interval as the threshold. The rate then holds for other people of the "
            "same kind with 97.5 % confidence; more pairs of the same person are rejected.",
        ),
    ] = False,
    detector: PhotographsDetectorOption = None,
    face: FaceOption = "largest",
    runtime: RuntimeOption = "auto",
    precision: PrecisionOption = "fp32",
    json: JsonOption = False,
) -> None:
    """Measure decision thresholds on your own faces, and write them into the model's manifest.

    `edgefr verify --fmr` uses the thresholds of the precision it runs in, or those of fp32 if there are none. --quality
    also measures the limit that all but 1 % of the faces reach, of which there must be 3,000; `edgefr verify` warns of
    faces below it. The signal `detector` needs photographs. A warning is printed if the model was trained on these
    people, and if pictures of 112x112 are not aligned faces.
    """
    from edgefr.evaluation.calibration import calibrate_model
    from edgefr.evaluation.face_provider import FaceProvider

    if str(model) not in SHIPPED:  # the package itself is not rewritten
        model = find_model(model)
    if not model.is_file():
        raise InvalidArgumentError("a model file to write thresholds into", f"none at {model}", "check the path")
    if quality_only and quality is None:
        raise InvalidArgumentError("--quality with --quality-only", "none", "name a signal, for example --quality norm")
    provider = FaceProvider.open(detector, face)
    if quality == "detector" and provider.detector is None:
        raise InvalidArgumentError("a detector for --quality detector", "none", "give one with --detector")
    chosen = chosen_faces(faces, pairs, folds, held_out_of([model]))
    with progress("Embedding", len(chosen.names)) as advance:
        found = calibrate_model(
            model,
            chosen,
            provider,
            () if quality_only else fmr,
            quality,
            runtime,
            precision,
            advance,
            keep_stricter,
            conservative,
        )
    if json:
        print_json(
            {
                "model": str(model),
                "runtime": found.description.runtime,
                "precision": found.description.precision,
                "images": found.images,
                "thresholds": [asdict(entry) for entry in found.thresholds],
                "quality": None if found.quality is None else asdict(found.quality),
                "kept": [asdict(entry) for entry in found.kept],
                "dropped": [asdict(entry) for entry in found.dropped],
            }
        )
    else:
        print(_text(model, found))


def _text(model: Path, found: Calibration) -> str:
    runtime, precision = found.description.runtime, found.description.precision
    sources = dict.fromkeys(entry.measured_on for entry in found.thresholds)
    lines = [f"{model.name} on {runtime} {precision}, {measured_on}" for measured_on in sources]
    lines.append(threshold_table(found.thresholds, found.quality))
    if found.kept:
        lines.append(
            f"Kept as measured before: {_rates(found.kept)}. Name these rates with --fmr to measure them, too."
        )
    if found.dropped:
        lines.append(f"Dropped, because they contradict these: {_rates(found.dropped)}.")
    return "\n".join(lines)


def _rates(thresholds: Sequence[Threshold]) -> str:
    found = ", ".join(f"{entry.fmr:g} ({entry.value:.4f})" for entry in thresholds)
    return f"the threshold{'s' if len(thresholds) > 1 else ''} at {found}"
