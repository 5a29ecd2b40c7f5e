"""The faces that a new model is measured on, from the options of a command."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from edgefr.cli.options import folds_of
from edgefr.cli.output import warn
from edgefr.detection.base import FacePolicy

if TYPE_CHECKING:
    from edgefr.export.native_from_published import AdoptionFaces


def faces_to_measure_on(
    faces: Path, pairs: Path | None, folds: str | None, detector: Path | None, face: FacePolicy, model: str
) -> AdoptionFaces:
    """Open a collection of faces.

    Args:
        faces: Value of --faces: aligned faces or photographs by person.
        pairs: Value of --pairs.
        folds: Value of --folds.
        detector: Value of --detector.
        face: Value of --face.
        model: Name of the model, for warnings.

    Returns:
        The faces. A warning is printed if pictures of 112x112 are not aligned.

    Raises:
        EdgefrError: An option does not fit, or a file cannot be read.
    """
    from edgefr.evaluation.calibration import select_faces
    from edgefr.evaluation.face_provider import FaceProvider
    from edgefr.export.native_from_published import AdoptionFaces
    from edgefr.recognition.alignment_check import check_alignment

    provider = FaceProvider.open(detector, face)
    chosen = select_faces(faces, pairs, () if folds is None else tuple(sorted(folds_of(folds))), model)
    for text in (*chosen.warnings, check_alignment(chosen.folder, chosen.names).warning(str(faces))):
        if text is not None:
            warn(f"edgefr: {text}")
    return AdoptionFaces(chosen, provider.crops_of(chosen.folder))
