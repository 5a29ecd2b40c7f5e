"""Geometry of boxes and detections."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edgefr.detection.base import Detections
from edgefr.types import Floats


def box_iou(boxes: npt.ArrayLike, others: npt.ArrayLike) -> Floats:
    """Intersection over union of every pair of boxes.

    Args:
        boxes: (N, 4) as x, y, width, height.
        others: (M, 4), likewise.

    Returns:
        (N, M) float32, 0 to 1.
    """
    first, second = _boxes(boxes), _boxes(others)
    common = _intersection(first, second)
    areas = first[:, 2:].prod(1)[:, None] + second[:, 2:].prod(1)[None]
    return np.asarray(common / np.maximum(areas - common, 1e-6), np.float32)


def covered_share(boxes: npt.ArrayLike, others: npt.ArrayLike) -> Floats:
    """Share of each box's area that lies inside each of the others.

    Args:
        boxes: (N, 4) as x, y, width, height.
        others: (M, 4), likewise.

    Returns:
        (N, M) float32, 0 to 1.
    """
    first, second = _boxes(boxes), _boxes(others)
    return np.asarray(_intersection(first, second) / np.maximum(first[:, 2:].prod(1)[:, None], 1e-6), np.float32)


def warp_detections(detections: Detections, matrix: npt.NDArray[np.float64]) -> Detections:
    """The faces of a picture after an affine map of the picture.

    Boxes are upright boxes around the mapped ellipses in the old ones. If the map mirrors, left and right landmarks
    are exchanged.

    Args:
        detections: N faces.
        matrix: (2, 3) map of pixel coordinates.

    Returns:
        The N faces in the same order.
    """
    linear, shift = matrix[:, :2], matrix[:, 2]
    centre = (detections.boxes[:, :2] + detections.boxes[:, 2:] / 2) @ linear.T + shift
    size = np.sqrt(detections.boxes[:, 2:] ** 2 @ (linear**2).T)
    landmarks = detections.landmarks @ linear.T + shift
    if np.linalg.det(linear) < 0:
        landmarks = landmarks[:, (1, 0, 2, 4, 3)]
    boxes = np.hstack([centre - size / 2, size])
    return Detections(boxes.astype(np.float32), landmarks.astype(np.float32), detections.scores)


def _boxes(boxes: npt.ArrayLike) -> Floats:
    return np.asarray(boxes, np.float32).reshape(-1, 4)


def _intersection(boxes: Floats, others: Floats) -> Floats:
    low = np.maximum(boxes[:, None, :2], others[None, :, :2])
    high = np.minimum((boxes[:, :2] + boxes[:, 2:])[:, None], (others[:, :2] + others[:, 2:])[None])
    return np.asarray(np.clip(high - low, 0, None).prod(2), np.float32)
