"""The faces that a model is measured on, from the options of a command."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from edgefr.choices import FacePolicy
from edgefr.cli.options import folds_of
from edgefr.cli.output import warn

if TYPE_CHECKING:
    from edgefr.evaluation.calibration import CalibrationFaces
    from edgefr.export.native_from_published import AdoptionFaces
    from edgefr.manifest import HeldOut

NOT_KNOWN: Mapping[str, HeldOut] = MappingProxyType({})


def held_out_of(models: Sequence[Path]) -> dict[str, HeldOut]:
    """Name of a model -> the people whom it was not trained on, for those whose manifests say it."""
    from edgefr.manifest import model_manifest

    manifests = {model.stem: model_manifest(model) for model in models}
    return {name: one.held_out for name, one in manifests.items() if one is not None and one.held_out is not None}


def chosen_faces(
    faces: Path, pairs: Path | None, folds: str | None, held_out: Mapping[str, HeldOut] = NOT_KNOWN
) -> CalibrationFaces:
    """The pictures that the options select.

    Args:
        faces: Value of --faces: aligned faces or photographs by person.
        pairs: Value of --pairs.
        folds: Value of --folds.
        held_out: Name of a model -> the people whom it was not trained on, if they are known.

    Returns:
        The pictures. A warning is printed if a model was trained on these people, or if pictures of 112x112 are not
        aligned.

    Raises:
        EdgefrError: An option does not fit, or a file cannot be read.
    """
    from edgefr.evaluation.calibration import select_faces
    from edgefr.recognition.alignment_check import check_alignment

    chosen = select_faces(faces, pairs, () if folds is None else tuple(sorted(folds_of(folds))), held_out)
    for text in (*chosen.warnings, check_alignment(chosen.folder, chosen.names).warning(str(faces))):
        if text is not None:
            warn(f"edgefr: {text}")
    return chosen


def faces_to_measure_on(
    faces: Path,
    pairs: Path | None,
    folds: str | None,
    detector: Path | None,
    face: FacePolicy,
    held_out: Mapping[str, HeldOut] = NOT_KNOWN,
) -> AdoptionFaces:
    """The same pictures with the reader of their faces.

    Args:
        faces: As for `chosen_faces`, like `pairs`, `folds` and `held_out`.
        pairs: See there.
        folds: See there.
        detector: Value of --detector.
        face: Value of --face.
        held_out: See there.

    Raises:
        EdgefrError: As there, or the detector cannot be opened.
    """
    from edgefr.evaluation.face_provider import FaceProvider
    from edgefr.export.native_from_published import AdoptionFaces

    provider = FaceProvider.open(detector, face)
    chosen = chosen_faces(faces, pairs, folds, held_out)
    return AdoptionFaces(chosen, provider.crops_of(chosen.folder))
