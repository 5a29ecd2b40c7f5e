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
    model_or_explain,
)
from edgefr.cli.output import print_json

if TYPE_CHECKING:
    from edgefr.verify import EmbeddedFace, Verdict, Verifier


def verify(
    first: Annotated[Path, typer.Argument(help="A photograph.")],
    second: Annotated[Path, typer.Argument(help="Another photograph.")],
    model: ModelOption = None,
    detector: DetectorOption = None,
    threshold: Annotated[
        float | None,
        typer.Option(min=-1, max=1, help="Decide by this similarity, not by the model's manifest."),
    ] = None,
    face: FaceOption = "largest",
    runtime: RuntimeOption = "auto",
    precision: PrecisionOption = "auto",
    json: JsonOption = False,
) -> None:
    """Do two photographs show the same person?

    Exit 0 same, 1 different, 2 error.
    """
    from edgefr.verify import Verifier

    verifier = Verifier.open(model_or_explain(model), detector, runtime, precision, images=2)
    verdict = verifier.verify(first, second, face, threshold)
    if json:
        print_json(_document(verdict, verifier))
    else:
        print(_sentence(verdict, verifier))
    raise typer.Exit(0 if verdict.same else 1)


def _document(verdict: Verdict, verifier: Verifier) -> dict[str, Any]:
    description = verifier.recogniser.description
    return {
        "same": verdict.same,
        "similarity": verdict.similarity,
        "threshold": verdict.threshold.value,
        "threshold_ci95": verdict.threshold.ci95,
        "threshold_from": verdict.threshold.measured_on,
        "fmr_at_threshold": verdict.threshold.fmr,
        "model": verifier.model.name,
        "model_sha256": verifier.digest(),
        "detector": verifier.detector.name,
        "runtime": description.runtime,
        "precision": description.precision,
        "faces": [face_document(face) for face in verdict.faces],
        "time_ms": verdict.time_ms,
    }


def face_document(face: EmbeddedFace) -> dict[str, Any]:
    """Where a face was found and how sure detector and bottleneck are."""
    return {
        "path": str(face.path),
        "box": face.face.box,
        "landmarks": face.face.landmarks,
        "score": face.face.score,
        "uncertainty": face.uncertainty,
    }


def _sentence(verdict: Verdict, verifier: Verifier) -> str:
    limit = verdict.threshold
    answer = "The same person" if verdict.same else "Different people"
    relation = "reaches" if verdict.same else "stays below"
    source = f"at most {limit.fmr:.2%} false matches" if limit.fmr is not None else "given"
    description = verifier.recogniser.description
    return (
        f"{answer}: similarity {verdict.similarity:.3f} {relation} the threshold {limit.value:.3f} ({source}, from "
        f"{limit.measured_on}).\n{verdict.time_ms:.0f} ms with {verifier.model.name} on {description.runtime} "
        f"{description.precision}, faces by {verifier.detector.name}."
    )
