"""edgefr calibrate"""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from edgefr.cli.options import JsonOption, PrecisionOption, RuntimeOption
from edgefr.cli.output import print_json, progress, table
from edgefr.errors import EdgefrError

if TYPE_CHECKING:
    from edgefr.backends.base import Description
    from edgefr.manifest import Quality, Threshold


def calibrate(
    model: Annotated[Path, typer.Argument(help="An .onnx file or a fused .safetensors; its manifest is rewritten.")],
    faces: Annotated[Path, typer.Argument(help="Aligned faces by person, as `edgefr data align` makes them.")],
    fmr: Annotated[
        list[float], typer.Option(help="A false match rate to measure the threshold at; may be given several times.")
    ] = [1e-2, 1e-3],  # noqa: B006 - typer reads it, nobody writes to it
    pairs: Annotated[Path | None, typer.Option(help="LFW's pairs file, to take the people of some folds only.")] = None,
    folds: Annotated[str | None, typer.Option(help="Those folds, separated by commas: 1,2,3,4,5.")] = None,
    quality: Annotated[
        Literal["certainty", "norm"] | None,
        typer.Option(help="Also measure below which certainty or norm a face is too poor to be judged."),
    ] = None,
    runtime: RuntimeOption = "auto",
    precision: PrecisionOption = "fp32",
    json: JsonOption = False,
) -> None:
    """Measure thresholds on faces of your own.

    They go into the model's manifest, for the precision that they were measured in; `edgefr verify --fmr` uses them,
    and those of fp32 for a precision that has none.
    """
    from edgefr.backends.recogniser import open_recogniser
    from edgefr.evaluate.calibrate import choose, measure
    from edgefr.manifest import Manifest, model_manifest, write_model_manifest

    if not model.is_file():
        raise EdgefrError(f"expected a model file to write thresholds into, found none at {model}: check the path")
    chosen = choose(faces, pairs, _folds(folds))
    manifest = model_manifest(model) or Manifest(model.suffix.lower().removeprefix("."), model.stem)
    recogniser = open_recogniser(model, runtime, precision, images=len(chosen.names))
    with progress("Embedding", len(chosen.names)) as advance:
        thresholds, limit = measure(recogniser, chosen, fmr, quality, advance)
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


def _folds(text: str | None) -> tuple[int, ...]:
    if text is None:
        return ()
    if not all(fold.strip().isascii() and fold.strip().isdigit() for fold in text.split(",")):
        raise EdgefrError(f"expected folds such as 1,2,3, found {text!r}: correct --folds")
    return tuple(int(fold) for fold in text.split(","))


def _text(model: Path, description: Description, thresholds: tuple[Threshold, ...], limit: Quality | None) -> str:
    rows = [[f"{entry.fmr:g}", f"{entry.value:.4f}", "{:.4f} to {:.4f}".format(*entry.ci95)] for entry in thresholds]
    lines = [
        f"{model.name} on {description.runtime} {description.precision}, {thresholds[0].measured_on}",
        table(["FMR", "threshold", "95 % interval"], rows),
    ]
    if limit is not None:
        lines.append(f"A face is too poor with a {limit.signal} below {limit.limit:.3g}, by {limit.measured_on}.")
    return "\n".join(lines)
