"""Faces to compare models with if the user gives none: a photograph from a package that is kept up to date."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from edgefr.data.collections import open_faces
from edgefr.data.degradations import random_degradation
from edgefr.errors import require_extra
from edgefr.types import FACE_SIZE, TEMPLATE, Faces, Floats

ASTRONAUT_LANDMARKS: Floats = np.array(
    [[200.1, 101.8], [247.1, 102.6], [220.4, 124.5], [198.6, 142.8], [239.7, 143.6]], np.float32
)
"""Eyes, nose and mouth corners of Eileen Collins in scikit-image's `data.astronaut()` (NASA, public domain), as
OpenCV's YuNet finds them."""

MAX_FACES = 256


def comparison_faces(path: Path | None) -> Faces:
    """Faces to compare two models with.

    Args:
        path: A collection of aligned faces. None takes degraded copies of one photograph.

    Returns:
        (N, 112, 112, 3): at most 256 faces, evenly spread over the collection, or 32 of the astronaut.

    Raises:
        EdgefrError: `path` holds no aligned faces.
        MissingExtraError: scikit-image is not installed.
    """
    if path is None:
        return astronaut_faces(32)
    folder = open_faces(path)
    chosen = np.linspace(0, len(folder.names) - 1, min(MAX_FACES, len(folder.names))).astype(int)
    return folder.read_faces([folder.names[index] for index in chosen])


def astronaut_faces(count: int) -> Faces:
    """The astronaut's aligned face and degraded copies of it, always the same.

    Args:
        count: Number of faces, at least 1.

    Returns:
        (count, 112, 112, 3) uint8 RGB.

    Raises:
        MissingExtraError: scikit-image is not installed.
    """
    require_extra("skimage", "train")
    from skimage import data

    matrix, _ = cv2.estimateAffinePartial2D(ASTRONAUT_LANDMARKS, TEMPLATE, method=cv2.LMEDS)
    face = np.asarray(cv2.warpAffine(data.astronaut(), matrix, (FACE_SIZE, FACE_SIZE)), np.uint8)
    rng = np.random.default_rng(0)
    return np.stack([face, *(random_degradation(face, rng) for _ in range(count - 1))])
