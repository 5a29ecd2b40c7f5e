"""edgefr verify"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgefr.cli.options import (
    DetectorOption,
    FaceOption,
    JsonOption,
    ModelOption,
    PrecisionOption,
    RuntimeOption,
    chosen_model,
)
from edgefr.cli.output import print_json, warn
from edgefr.errors import InvalidArgumentError, PoorFaceError, WrongModelError

if TYPE_CHECKING:
    from edgefr.recognition.verifier import EmbeddedFace, VerificationResult, Verifier


def verify(
    first: Annotated[Path, typer.Argument(help="A photograph.")],
    second: Annotated[Path, typer.Argument(help="Another photograph.")],
    model: ModelOption = None,
    detector: DetectorOption = None,
    threshold: Annotated[
        float | None,
        typer.Option(min=-1, max=1, help="Decide by this similarity instead of the threshold of the model."),
    ] = None,
    fmr: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Decide by the threshold calibrated at this false match rate. Default: 1e-3."),
    ] = None,
    face: FaceOption = "largest",
    refuse_poor: Annotated[
        bool, typer.Option("--refuse-poor", help="Give no answer (exit 2) if a photograph is of poor quality.")
    ] = False,
    runtime: RuntimeOption = "auto",
    precision: PrecisionOption = "auto",
    json: JsonOption = False,
) -> None:
    """Decide whether two photographs show the same person.

    Exit 0 same, 1 different, 2 error. Faces below the quality limit of the model cause a warning.
    """
    from edgefr.recognition.verifier import Verifier

    if threshold is not None and fmr is not None:
        raise InvalidArgumentError("--threshold or --fmr", "both", "give one of them")
    verifier = Verifier.open(chosen_model(model), detector, runtime, precision, images=2)
    result = verifier.verify(first, second, face, threshold, fmr)
    if refuse_poor:
        _check_quality(result, verifier)
    for warning in result.quality_warnings or ():
        warn(f"edgefr: do not rely on this answer: {warning}")
    if json:
        print_json(_document(result, verifier))
    else:
        print(_sentence(result, verifier))
    raise typer.Exit(0 if result.same else 1)


def _check_quality(result: VerificationResult, verifier: Verifier) -> None:
    if result.quality_warnings is None:
        raise WrongModelError(
            f"a quality limit in the manifest of {verifier.model} for --refuse-poor",
            "none",
            "measure one with `edgefr calibrate`",
        )
    if result.quality_warnings:
        raise PoorFaceError(
            "", "; ".join(result.quality_warnings), "use clearer photographs, or leave out --refuse-poor"
        )


def _document(result: VerificationResult, verifier: Verifier) -> dict[str, Any]:
    description = verifier.recogniser.description
    return {
        "same": result.same,
        "reliable": None if result.quality_warnings is None else not result.quality_warnings,
        "reasons": result.quality_warnings or (),
        "similarity": result.similarity,
        "threshold": result.threshold.value,
        "threshold_ci95": result.threshold.ci95,
        "threshold_from": result.threshold.measured_on,
        "fmr_at_threshold": result.threshold.fmr,
        "model": verifier.model.name,
        "model_sha256": verifier.digest(),
        "made_from_sha256": verifier.made_from(),
        "detector": verifier.detector.name,
        "runtime": description.runtime,
        "precision": description.precision,
        "faces": [face_document(face) for face in result.faces],
        "time_ms": result.time_ms,
    }


def face_document(face: EmbeddedFace) -> dict[str, Any]:
    """The JSON object of a face: its position and its quality."""
    return {
        "path": face.source,
        "box": face.face.box,
        "landmarks": face.face.landmarks,
        "score": face.face.score,
        "uncertainty": face.uncertainty,
        "norm": face.norm,
        "sharpness": face.sharpness,
    }


def _sentence(result: VerificationResult, verifier: Verifier) -> str:
    threshold = result.threshold
    answer = "The same person" if result.same else "Different people"
    relation = "reaches" if result.same else "is below"
    if threshold.fmr is None:
        meaning = f"from {threshold.measured_on}"
    else:
        meaning = f"{_one_in(threshold.fmr)} pairs of strangers reach it; measured on {threshold.measured_on}"
    description = verifier.recogniser.description
    return (
        f"{answer}: similarity {result.similarity:.3f} {relation} the threshold {threshold.value:.3f} ({meaning}).\n"
        f"{result.time_ms:.0f} ms with {verifier.model.name} on {description.runtime} {description.precision}, faces "
        f"found by {verifier.detector.name}."
    )


def _one_in(rate: float) -> str:
    """0.00131 -> "about 1 in 760"."""
    return f"about 1 in {float(f'{1 / rate:.2g}'):,.0f}" if rate > 0 else "0 of the measured"
