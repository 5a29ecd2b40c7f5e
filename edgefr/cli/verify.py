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
from edgefr.errors import EdgefrError

if TYPE_CHECKING:
    from edgefr.recognition.verifier import EmbeddedFace, VerificationResult, Verifier


def verify(
    first: Annotated[Path, typer.Argument(help="A photograph.")],
    second: Annotated[Path, typer.Argument(help="Another photograph.")],
    model: ModelOption = None,
    detector: DetectorOption = None,
    threshold: Annotated[
        float | None,
        typer.Option(min=-1, max=1, help="Decide by this similarity, not by the model's manifest."),
    ] = None,
    fmr: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Decide by the threshold measured at this false match rate; else 1e-3."),
    ] = None,
    face: FaceOption = "largest",
    refuse_poor: Annotated[
        bool, typer.Option("--refuse-poor", help="Give no answer, exit 2, on a photograph too poor to be judged.")
    ] = False,
    runtime: RuntimeOption = "auto",
    precision: PrecisionOption = "auto",
    json: JsonOption = False,
) -> None:
    """Do two photographs show the same person?

    Exit 0 same, 1 different, 2 error. A face of lower quality than the limit in the model's manifest is warned of.
    """
    from edgefr.recognition.verifier import Verifier

    if threshold is not None and fmr is not None:
        raise EdgefrError("--threshold or --fmr", "both", "give one of them")
    verifier = Verifier.open(chosen_model(model), detector, runtime, precision, images=2)
    verdict = verifier.verify(first, second, face, threshold, fmr)
    if refuse_poor:
        _insist(verdict, verifier)
    for doubt in verdict.quality_warnings or ():
        warn(f"edgefr: do not rely on this answer: {doubt}")
    if json:
        print_json(_document(verdict, verifier))
    else:
        print(_sentence(verdict, verifier))
    raise typer.Exit(0 if verdict.same else 1)


def _insist(verdict: VerificationResult, verifier: Verifier) -> None:
    """Refuse what `--refuse-poor` does not want answered.

    Raises:
        EdgefrError: a photograph is too poor, or the model has no limit to tell by.
    """
    if verdict.quality_warnings is None:
        raise EdgefrError(
            f"a quality limit in the manifest of {verifier.model} for --refuse-poor",
            "none",
            "measure one with `edgefr calibrate`",
        )
    if verdict.quality_warnings:
        raise EdgefrError(
            "photographs good enough to be judged",
            f"that {' and that '.join(verdict.quality_warnings)}",
            "give clearer ones, or leave out --refuse-poor",
        )


def _document(verdict: VerificationResult, verifier: Verifier) -> dict[str, Any]:
    description = verifier.recogniser.description
    return {
        "same": verdict.same,
        "reliable": None if verdict.quality_warnings is None else not verdict.quality_warnings,
        "reasons": verdict.quality_warnings or (),
        "similarity": verdict.similarity,
        "threshold": verdict.threshold.value,
        "threshold_ci95": verdict.threshold.ci95,
        "threshold_from": verdict.threshold.measured_on,
        "fmr_at_threshold": verdict.threshold.fmr,
        "model": verifier.model.name,
        "model_sha256": verifier.digest(),
        "made_from_sha256": verifier.made_from(),
        "detector": verifier.detector.name,
        "runtime": description.runtime,
        "precision": description.precision,
        "faces": [face_document(face) for face in verdict.faces],
        "time_ms": verdict.time_ms,
    }


def face_document(face: EmbeddedFace) -> dict[str, Any]:
    """Where a face was found and what tells of its quality."""
    return {
        "path": face.source,
        "box": face.face.box,
        "landmarks": face.face.landmarks,
        "score": face.face.score,
        "uncertainty": face.uncertainty,
        "norm": face.norm,
        "sharpness": face.sharpness,
    }


def _sentence(verdict: VerificationResult, verifier: Verifier) -> str:
    limit = verdict.threshold
    answer = "The same person" if verdict.same else "Different people"
    relation = "reaches" if verdict.same else "stays below"
    source = f"at most {100 * limit.fmr:#.2g}% false matches" if limit.fmr is not None else "given"
    description = verifier.recogniser.description
    return (
        f"{answer}: similarity {verdict.similarity:.3f} {relation} the threshold {limit.value:.3f} ({source}, from "
        f"{limit.measured_on}).\n{verdict.time_ms:.0f} ms with {verifier.model.name} on {description.runtime} "
        f"{description.precision}, faces by {verifier.detector.name}."
    )
