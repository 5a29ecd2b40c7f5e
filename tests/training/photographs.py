"""Photographs with a painted face. Each part has its own colour, so that tests can find it."""

from __future__ import annotations

import cv2
import numpy as np

from edgefr.detection.base import Detections
from edgefr.training.detector.labelled_photographs import LabelledPhotographs
from edgefr.types import Image

COLOURS = ((255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0), (255, 0, 255))
"""Of the face's points in the picture as it was taken: the mirror image has red where green was."""
SKIN, GROUND = (150, 170, 120), (90, 90, 90)

BOX = (70, 60, 100, 120)
POINTS = ((95, 100), (145, 100), (120, 125), (100, 150), (140, 150))


def painted(score: float = 0.9) -> tuple[Image, Detections]:
    """A picture (250, 250, 3) and the face in it."""
    picture = np.full((250, 250, 3), GROUND, np.uint8)
    x, y, width, height = BOX
    cv2.ellipse(picture, (x + width // 2, y + height // 2), (width // 2, height // 2), 0, 0, 360, SKIN, -1)
    for point, colour in zip(POINTS, COLOURS, strict=True):
        cv2.circle(picture, point, 9, colour, -1)
    return picture, Detections.from_rows(np.array([[*BOX, *np.ravel(POINTS), score]], np.float32))


def photographs(score: float = 0.9) -> LabelledPhotographs:
    picture, labels = painted(score)
    return LabelledPhotographs([picture], [labels])
