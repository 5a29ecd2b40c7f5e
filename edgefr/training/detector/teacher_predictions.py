"""What YuNet answers at every place of a picture: a student that learns all of it learns more from each than where the
faces are - how sure to be beside one, and of what is nearly one."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from edgefr.detection.geometry import box_iou
from edgefr.errors import EdgefrError
from edgefr.training.detector.label_averaging import moved
from edgefr.types import Floats, Image

SAME, NEAR = 0.5, 0.2
"""Overlap (intersection over union) from which an answer speaks of a known face, and from which it may."""

STRIDES = (8, 16, 32)
"""Of YuNet's grids, whose places lie at multiples of them: half a stride left and above of `spot`'s."""

PARTS = ("cls", "obj", "bbox", "kps")
NAMES = tuple(f"{part}_{stride}" for stride in STRIDES for part in PARTS)


class Answers:
    """YuNet (2023mar) before its own threshold and choice among neighbours. One object serves one thread."""

    def __init__(self, path: Path) -> None:
        """Load the network.

        Raises:
            EdgefrError: OpenCV cannot run it.
        """
        self._path = path
        try:
            self._net = cv2.dnn.readNet(str(path))
        except cv2.error as error:
            raise self._refused() from error

    def of(self, picture: Image) -> Floats:
        """A face at each place (P, 15) of (H, W, 3) uint8 RGB, sides multiples of 32: box, five points, score.

        Decoded as OpenCV's `FaceDetectorYN` does.

        Raises:
            EdgefrError: OpenCV cannot run the network.
        """
        try:
            self._net.setInput(cv2.dnn.blobFromImage(picture, swapRB=True))
            said = dict(zip(NAMES, self._net.forward(NAMES), strict=True))
        except cv2.error as error:
            raise self._refused() from error
        levels = []
        for stride in STRIDES:
            cls, obj, box, points = (said[f"{part}_{stride}"].reshape(-1, width) for part, width in _WIDTHS)
            at = _corners(picture.shape[0] // stride, picture.shape[1] // stride)  # (P, 2) in strides
            centre, size = (at + box[:, :2]) * stride, np.exp(box[:, 2:]) * stride
            where = (points + np.tile(at, 5)) * stride
            score = np.sqrt(np.clip(cls, 0, 1) * np.clip(obj, 0, 1))
            levels.append(np.hstack([centre - size / 2, size, where, score]))
        return np.concatenate(levels).astype(np.float32)

    def _refused(self) -> EdgefrError:
        return EdgefrError(
            f"the YuNet detector in {self._path}",
            f"that OpenCV {cv2.__version__} cannot run it",
            "download face_detection_yunet_2023mar.onnx again from OpenCV's model zoo",
        )


def corrected(answers: Floats, faces: Floats, no_others: bool) -> Floats:
    """The answers (P, 15) with what is known better: where they speak of one of `faces` (F, 15), its box and points are
    that face's, for YuNet leaves the points of a turned head half upright; with `no_others`, what YuNet sees elsewhere
    is no face. How sure to be of a known one stays YuNet's: it may be covered.
    """
    answers = answers.copy()
    overlap = box_iou(answers[:, :4], faces[:, :4])  # (P, F)
    most = overlap.max(1, initial=0)
    same = most >= SAME
    if same.any():
        answers[same, :14] = faces[overlap[same].argmax(1), :14]
    if no_others:
        answers[most < NEAR, 14] = 0
    return answers


def turned(image: Image, answers: Floats, degrees: float) -> tuple[Image, Floats]:
    """A picture (S, S, 3) turned about its middle, and the answers (P, 15) to it: each place gives, turned along, what
    the place answered where its middle lay before; what comes from outside is black, and no face.

    So a student is as sure of a turned head as its teacher of an upright one; asked itself, YuNet sees few beyond 30
    degrees.
    """
    side = len(image)
    middle = (side - 1) / 2
    matrix = cv2.getRotationMatrix2D((middle, middle), degrees, 1)
    back = cv2.invertAffineTransform(matrix)
    taken, first = [], 0
    for stride in STRIDES:
        cells = side // stride
        centres = (_corners(cells, cells) + 0.5) * stride - 0.5
        x, y = np.floor((centres @ back[:, :2].T + back[:, 2] + 0.5) / stride).astype(np.int64).T
        outside = (x < 0) | (x >= cells) | (y < 0) | (y >= cells)
        rows = answers[first + y.clip(0, cells - 1) * cells + x.clip(0, cells - 1)]  # a copy
        rows[outside, 14] = 0
        taken.append(rows)
        first += cells * cells
    picture = cv2.warpAffine(image, matrix, (side, side), flags=cv2.INTER_LINEAR)
    return np.asarray(picture, np.uint8), moved(np.concatenate(taken), matrix)


_WIDTHS = (("cls", 1), ("obj", 1), ("bbox", 4), ("kps", 10))


def _corners(rows: int, columns: int) -> npt.NDArray[np.int64]:
    y, x = np.divmod(np.arange(rows * columns), columns)
    return np.stack([x, y], 1)
