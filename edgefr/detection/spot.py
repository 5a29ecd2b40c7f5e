"""The shipped detector: one ONNX file that gives whole faces, so that nothing is left to decode."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from edgefr.detection.base import Face
from edgefr.detection.multiscale import detect_multiscale
from edgefr.runtimes import open_backend
from edgefr.types import INPUT_NAME, SPOT_OUTPUT, SPOT_STRIDE, Floats, Image

SCORE, OVERLAP = 0.45, 0.4
"""Of 1,500 photographs of people it was trained on, 4 then show a face where YuNet sees nothing, and 99.7 % of all
faces are found; 2 and 99.6 % at 0.5, 12 and 99.8 % at 0.4 (`bench/scores.py`)."""
VOTES, VOTE = 0.3, 0.6
"""The least score and overlap of those that have a say in where a face lies. On 250 photographs of people it was
trained on the landmarks are then off by 2.7 % of the eyes' distance, one look of YuNet's by 6.6 %
(`bench/landmarks.py`)."""

SIDES = (1024, 320, 112)
"""Longest sides in pixels: a third of the size costs a tenth of the time."""

LEAST = 56
"""Side in pixels that a face has in a smaller view to count: 160 to 180 in the next larger one. The network learned
faces of 8 to 270."""


CORNER = -0.5
"""Where it sees a picture's upper left corner: it learned from pictures warped by OpenCV, whose first pixel's middle is
at 0. (YuNet and SCRFD are taken as their own tools take them, at 0.)"""

NESTED = 0.6
"""A find that lies so far within a better one is that face's mouth and chin, which in samples look like a face."""


class Spot:
    """A network with one output, a face in each row: box, five points, score."""

    name = "spot"

    def __init__(self, path: Path, threads: int | None = None) -> None:
        """Load the network, to be run by so many threads.

        Raises:
            EdgefrError: the runtime refuses the file.
        """
        self._backend = open_backend(path, runtime="onnxruntime", threads=threads)

    def detect(self, image: Image) -> list[Face]:
        """All faces in `image`, (H, W, 3) uint8 RGB, best score first."""
        longest = max(image.shape[:2])
        sides = tuple({min(side, longest): None for side in SIDES})  # it needs no enlarging
        found: list[Face] = []
        for face in detect_multiscale(image, sides, self._candidates, OVERLAP, LEAST, SCORE, VOTE, CORNER):
            if all(_inside(face, better) <= NESTED for better in found):
                found.append(face)
        return found

    def _candidates(self, image: Image, _side: int) -> Floats:
        below, right = (-length % SPOT_STRIDE for length in image.shape[:2])
        whole = cv2.copyMakeBorder(image, 0, below, 0, right, cv2.BORDER_CONSTANT)
        rows = self._backend.infer({INPUT_NAME: np.asarray(whole)[None]})[SPOT_OUTPUT]  # (P, 15)
        good: Floats = rows[rows[:, 14] >= VOTES]
        return good


def _inside(face: Face, other: Face) -> float:
    """The share of a face's box that lies within the other's."""
    x, y, width, height = face.box
    left, top, across, down = other.box
    wide = min(x + width, left + across) - max(x, left)
    high = min(y + height, top + down) - max(y, top)
    return max(wide, 0.0) * max(high, 0.0) / (width * height)
