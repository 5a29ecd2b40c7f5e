"""What a teacher says of a picture's faces on the average of several looks: one look errs by its own noise."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from edgefr.detection.geometry import box_iou
from edgefr.types import Floats, Image

SIZES = (0.8, 1.0, 1.25)
"""Of the picture in each look, which is taken twice, the second time in a mirror."""

SAME = 0.5
"""Intersection over union from which on finds of two looks are of one face."""

ROW = 15
"""Values of a find in OpenCV's order: box as x, y, width, height, five points as x, y, score."""


def looks_at(picture: Image, net: cv2.FaceDetectorYN) -> Floats:
    """Finds (F, 15) of one plain look with boxes and points averaged over all looks that see the same face; their
    scores are the plain look's.

    YuNet's points differ from those of its own mirrored look by a tenth of the eyes' distance.
    """
    plain = _look(picture, net, 1.0, mirrored=False)
    others = [_look(picture, net, size, mirrored) for size in SIZES for mirrored in (False, True)]
    averaged = plain.copy()
    for row, found in zip(averaged, plain, strict=True):
        same = [rows[best] for rows in others if (best := _same(found, rows)) is not None]
        row[:14] = np.mean([other[:14] for other in (same or [found])], axis=0)
    return averaged


def _look(picture: Image, net: cv2.FaceDetectorYN, size: float, mirrored: bool) -> Floats:
    """Finds in the picture seen at another size or in a mirror, in the picture's own pixels."""
    half = (1 - 1 / size) / 2  # pixels are measured from the middle of the first
    back = np.array([[1 / size, 0, -half], [0, 1 / size, -half]])
    view = cv2.resize(picture, None, fx=size, fy=size, interpolation=cv2.INTER_AREA if size < 1 else cv2.INTER_LINEAR)
    if mirrored:
        view = view[:, ::-1]
        back = np.array([[-1 / size, 0, (view.shape[1] - 1) / size - half], back[1]])
    net.setInputSize(view.shape[1::-1])
    _, rows = net.detect(cv2.cvtColor(np.asarray(view, np.uint8), cv2.COLOR_RGB2BGR))
    return np.zeros((0, ROW), np.float32) if rows is None else moved(rows, back)


def _same(find: Floats, rows: Floats) -> int | None:
    """Which of `rows` (F, 15) is of the same face, if any."""
    overlap = box_iou(find[:4], rows[:, :4])[0]
    return int(overlap.argmax()) if overlap.max(initial=0) >= SAME else None


def moved(finds: Floats, matrix: npt.NDArray[np.float64]) -> Floats:
    """Finds (F, 15) after an affine map (2, 3) of the picture: upright boxes around the turned ellipses in the old
    ones, and the points of left and right exchanged where the map mirrors."""
    linear, shift = matrix[:, :2], matrix[:, 2]
    centre = (finds[:, :2] + finds[:, 2:4] / 2) @ linear.T + shift
    size = np.sqrt(finds[:, 2:4] ** 2 @ (linear**2).T)
    points = finds[:, 4:14].reshape(-1, 5, 2) @ linear.T + shift
    if np.linalg.det(linear) < 0:
        points = points[:, (1, 0, 2, 4, 3)]
    return np.hstack([centre - size / 2, size, points.reshape(-1, 10), finds[:, 14:]]).astype(np.float32)
