"""edgefr verify"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgefr.cli.options import (
    DetectorOption,
    FaceOption,
    JsonOption,
    LivenessOption,
    LivenessThresholdOption,
    ModelOption,
    PrecisionOption,
    RuntimeOption,
    chosen_model,
    liveness_check,
)
from edgefr.cli.output import box_text, liveness_document, print_json, warn
from edgefr.cli.short_process import short_process
from edgefr.errors import InvalidArgumentError, PoorFaceError, WrongModelError

if TYPE_CHECKING:
    from edgefr.choices import FacePolicy
    from edgefr.manifest import Threshold
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
        typer.Option(
            min=0,
            max=1,
            help="Decide by the threshold at this false match rate, which is interpolated between calibrated rates. "
            "Default: 1e-3.",
        ),
    ] = None,
    face: FaceOption = "largest",
    refuse_poor: Annotated[
        bool, typer.Option("--refuse-poor", help="Give no answer (exit 2) if a photograph is of poor quality.")
    ] = False,
    liveness: LivenessOption = None,
    liveness_threshold: LivenessThresholdOption = 0.5,
    runtime: RuntimeOption = "auto",
    precision: PrecisionOption = "auto",
    json: JsonOption = False,
) -> None:
    """Decide whether two photographs show the same person.

    Exit 0 same, 1 different, 2 error. One face of each photograph is compared; if there are several, the answer names
    their number and the one that was compared. Faces below the quality limit of the model cause a warning.
    With --liveness, the answer is no (exit 1) if one of the two is not a living face.
    """
    if threshold is not None and fmr is not None:
        raise InvalidArgumentError("--threshold or --fmr", "both", "give one of them")
    with short_process():
        verifier = _open_verifier(chosen_model(model), detector, runtime, precision)
        verifier.liveness = liveness_check(liveness, liveness_threshold)
        result = verifier.verify(first, second, face, threshold, fmr)
    if refuse_poor:
        _check_quality(result, verifier)
    if (unchecked := verifier.unchecked_quality()) is not None:
        warn(f"edgefr: {unchecked}")
    for warning in result.quality_warnings or ():
        warn(f"edgefr: do not rely on this answer: {warning}")
    if json:
        print_json(_document(result, verifier))
    else:
        print(_sentence(result, verifier, face))
    raise typer.Exit(0 if result.same else 1)


def _open_verifier(model: Path, detector: Path | None, runtime: str, precision: str) -> Verifier:
    from edgefr.recognition.published.adopted_files import native_copy
    from edgefr.recognition.recogniser import open_in_background

    path = native_copy(model)
    opening = open_in_background(path, runtime, precision, images=2)
    from edgefr.recognition.verifier import Verifier  # brings OpenCV, while the recogniser is opened

    return Verifier.open(path, detector, runtime, precision, images=2, opening=opening)


def _check_quality(result: VerificationResult, verifier: Verifier) -> None:
    if result.quality_warnings is None:
        raise WrongModelError(
            f"a quality limit for the detector {verifier.detector.name} in the manifest of {verifier.model} for "
            "--refuse-poor",
            "none" if verifier.quality_limit is None else f"one for the detector {verifier.quality_limit.detector}",
            "measure one with `edgefr calibrate --quality`",
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
        "reasons": (*(result.quality_warnings or ()), *result.attacks),
        "similarity": result.similarity,
        "threshold": result.threshold.value,
        "threshold_ci95": result.threshold.ci95,
        "threshold_from": result.threshold.measured_on,
        "fmr": result.threshold.fmr,
        "fmr_at_threshold": result.threshold.fmr,
        "unseen_fmr": result.threshold.unseen_fmr,
        "model": verifier.model.name,
        "model_sha256": verifier.digest(),
        "made_from_sha256": verifier.made_from(),
        "detector": verifier.detector.name,
        "runtime": description.runtime,
        "precision": description.precision,
        "faces_found": [face.faces_found for face in result.faces],
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
        "liveness": liveness_document(face.liveness),
    }


def _sentence(result: VerificationResult, verifier: Verifier, policy: FacePolicy) -> str:
    threshold = result.threshold
    reaches = result.similarity >= threshold.value
    answer = "The same person" if result.same else "Not accepted" if reaches else "Different people"
    relation = "reaches" if reaches else "is below"
    description = verifier.recogniser.description
    lines = [
        f"{answer}: similarity {result.similarity:.3f} {relation} the threshold {threshold.value:.3f} "
        f"({_meaning(threshold)}).",
        *(f"{face.source} is {face.liveness}." for face in result.faces if face.liveness is not None),
        *(_choice(face, policy) for face in result.faces if face.faces_found > 1),
        f"{result.time_ms:.0f} ms with {verifier.model.name} on {description.runtime} {description.precision}, faces "
        f"found by {verifier.detector.name}.",
    ]
    return "\n".join(lines)


def _meaning(threshold: Threshold) -> str:
    """How often strangers reach a threshold, by the rate on people the model never saw if it was measured."""
    if threshold.fmr is None:
        return f"from {threshold.measured_on}"
    if threshold.unseen_fmr is None:
        return f"{_one_in(threshold.fmr)} pairs of strangers reach it; measured on {threshold.measured_on}"
    return (
        f"{_one_in(threshold.unseen_fmr)} pairs of strangers whom the model was not trained on reach it; calibrated on "
        f"{threshold.measured_on}"
    )


def _choice(face: EmbeddedFace, policy: FacePolicy) -> str:
    which = "one nearest to the centre" if policy == "centre" else policy
    return f"{face.source} shows {face.faces_found} faces; the {which} was compared, {box_text(face.face)}."


def _one_in(rate: float) -> str:
    """0.00131 -> "about 1 in 760"."""
    return f"about 1 in {float(f'{1 / rate:.2g}'):,.0f}" if rate > 0 else "0 of the measured"
