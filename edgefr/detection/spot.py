"""spot, the shipped detector: its ONNX graph gives decoded boxes, landmarks and scores."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from edgefr.detection.base import Detections
from edgefr.detection.geometry import covered_share
from edgefr.detection.multiscale import detect_multiscale
from edgefr.runtimes import open_backend
from edgefr.types import INPUT_NAME, SPOT_OUTPUT, SPOT_STRIDE, Image

SCORE_THRESHOLD, NMS_IOU = 0.45, 0.4
"""With a score threshold of 0.45, 4 of 1,500 photographs of training people have a detection where YuNet has none, and
99.7 % of all faces are found. With 0.5 it is 2 and 99.6 %, with 0.4 it is 12 and 99.8 % (`bench/scores.py`)."""
VOTE_SCORE, VOTE_IOU = 0.3, 0.6
"""Least score and overlap of the candidates that are averaged. On 250 photographs of training people, the error of the
landmarks is then 2.7 % of the distance between the eyes; that of one run of YuNet is 6.6 % (`bench/landmarks.py`)."""

SIDES = (1024, 320, 112)
"""Longest sides in pixels. A third of the size takes a tenth of the time."""

MIN_SIZE = 56
"""Side in pixels that a face must have in a smaller view, which is 160 to 180 in the next larger one. The network was
trained on faces of 8 to 270 pixels."""

CORNER = -0.5
"""Coordinate of the upper left corner of the picture: the network was trained on pictures warped by OpenCV, where the
centre of the first pixel is 0. YuNet and SCRFD use 0, as in the tools of their authors."""

NESTED = 0.6
"""A detection with more than this share of its box inside a better one is mouth and chin of the same face."""


class Spot:
    """A network with one output, (P, 15): box, five landmarks and score at each grid point."""

    name = "spot"
    upright_score = 0.915
    file = "spot, which comes with edgefr"

    @staticmethod
    def accepts(outputs: dict[str, int | None]) -> bool:
        """Whether a graph with these outputs is this detector."""
        return outputs == {SPOT_OUTPUT: 15}

    def __init__(self, path: Path, threads: int | None = None) -> None:
        """Load the network, see `FileDetector`."""
        self._backend = open_backend(path, runtime="onnxruntime", threads=threads, spinning=False)

    def detect(self, image: Image) -> Detections:
        """Find all faces, see `Detector.detect`."""
        longest = max(image.shape[:2])
        sides = tuple({min(side, longest): None for side in SIDES})  # never enlarges
        faces = detect_multiscale(image, sides, self._candidates, NMS_IOU, MIN_SIZE, SCORE_THRESHOLD, VOTE_IOU, CORNER)
        inside = covered_share(faces.boxes, faces.boxes)  # (N, N)
        kept: list[int] = []
        for index in range(len(faces)):
            if (inside[index, kept] <= NESTED).all():
                kept.append(index)
        return faces.take(kept)

    def detect_once(self, image: Image) -> Detections:
        """Find faces at one size, see `FileDetector.detect_once`."""
        side = max(image.shape[:2])
        return detect_multiscale(image, (side,), self._candidates, NMS_IOU, MIN_SIZE, SCORE_THRESHOLD)

    def _candidates(self, image: Image, _side: int) -> Detections:
        below, right = (-length % SPOT_STRIDE for length in image.shape[:2])
        whole = cv2.copyMakeBorder(image, 0, below, 0, right, cv2.BORDER_CONSTANT)
        rows = self._backend.infer({INPUT_NAME: np.asarray(whole)[None]})[SPOT_OUTPUT]  # (P, 15)
        return Detections.from_rows(rows[rows[:, 14] >= VOTE_SCORE])
