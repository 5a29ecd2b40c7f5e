"""Detects collections whose pictures have the size of aligned faces, but are not aligned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgefr.data.collections import FaceFolder
from edgefr.detection.base import Detector, select_face
from edgefr.detection.detector_registry import open_detector
from edgefr.errors import NoFaceError, UnreadableImageError
from edgefr.models import SPOT
from edgefr.types import FACE_SIZE, TEMPLATE, Image

SAMPLE = 60
"""Pictures of a collection that are checked, evenly spread."""
MIN_FOUND = 5
"""Faces that the detector must find among them for a verdict."""
MAX_DISTANCE = 0.17
"""Median distance of the landmarks from the template, in eye distances of the template, up to which faces count as
aligned. With `spot` it is 0.086 to 0.125 on five sets of faces that YuNet and others aligned (LFW, CelebA, UTKFace),
0.22 to 0.43 on cut or resized photographs of LFW, and 0.34 on faces cut out at their boxes."""

EYE_DISTANCE = float(np.linalg.norm(TEMPLATE[1] - TEMPLATE[0]))


@dataclass(frozen=True)
class AlignmentCheck:
    """How far the faces of a collection are from the alignment template.

    Attributes:
        checked: Number of faces that the detector found in pictures of 112x112.
        distance: Median over these faces of the mean distance of their landmarks from the template, in eye distances;
            None if there are too few faces for a verdict.
        aligned: Whether the faces count as aligned; None without a verdict.
    """

    checked: int
    distance: float | None
    aligned: bool | None

    def warning(self, collection: str) -> str | None:
        """A sentence about a collection that is not aligned, else None."""
        if self.aligned is not False:
            return None
        return (
            f"the pictures of {collection} have 112x112 pixels but seem not to be aligned faces: in {self.checked} of "
            f"them the landmarks are {self.distance:.2f} eye distances from their places, aligned faces have at most "
            f"{MAX_DISTANCE}. Align the original photographs with `edgefr data align`, or give larger photographs and "
            "a detector"
        )


def check_alignment(folder: FaceFolder, names: Sequence[str]) -> AlignmentCheck:
    """Check a sample of the pictures that have the size of aligned faces, with the shipped detector.

    Args:
        folder: The collection.
        names: The pictures to take the sample from.

    Returns:
        The result. Pictures of another size, unreadable ones and those without a face do not count.
    """
    detector = open_detector(Path(SPOT))  # MAX_DISTANCE is that of its landmarks
    chosen = np.linspace(0, len(names) - 1, min(SAMPLE, len(names))).astype(int)
    distances = [_distance(folder, names[index], detector) for index in chosen]
    found = [distance for distance in distances if distance is not None]
    if len(found) < MIN_FOUND:
        return AlignmentCheck(len(found), None, None)
    median = float(np.median(found))
    return AlignmentCheck(len(found), median, median <= MAX_DISTANCE)


def _distance(folder: FaceFolder, name: str, detector: Detector) -> float | None:
    try:
        picture: Image = folder.read(name)
        if picture.shape[:2] != (FACE_SIZE, FACE_SIZE):
            return None
        face = select_face(detector.detect(picture), picture.shape[:2], "largest", name)
    except (UnreadableImageError, NoFaceError):  # other checks are about these
        return None
    return float(np.linalg.norm(face.landmarks - TEMPLATE, axis=1).mean()) / EYE_DISTANCE
