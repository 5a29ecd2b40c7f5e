"""Detection at several sizes of one picture, which finds small faces and faces that fill it; NMS and box voting."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from edgefr.detection.base import Detections
from edgefr.detection.geometry import box_iou
from edgefr.types import Image

LARGE = 1 / 3
"""A face fills the picture if the root of its box's area is at least this share of the longest side. A smaller view may
add only such faces, because most of its other detections were false."""


def resize_longest_side(image: Image, side: int) -> Image:
    """Resize a picture so that its longest side has `side` pixels.

    Args:
        image: (H, W, 3) uint8.
        side: Pixels of the longest side.

    Returns:
        The resized picture; if it is smaller, its pixels are averages.
    """
    height, width = image.shape[:2]
    scale = side / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    small: Image = cv2.resize(image, size, interpolation=interpolation)
    return small


def detect_multiscale(
    image: Image,
    sides: tuple[int, ...],
    candidates: Callable[[Image, int], Detections],
    nms_iou: float,
    min_size: float | None = None,
    score_threshold: float = 0.0,
    vote_iou: float | None = None,
    pixel_offset: float = 0.0,
) -> Detections:
    """Detect faces at several sizes and join them by non-maximum suppression (NMS).

    Args:
        image: (H, W, 3) uint8 RGB.
        sides: Longest sides in pixels of the views to search, largest first.
        candidates: Function of a resized picture and its longest side; returns faces in pixels of that picture.
        nms_iou: Among boxes that overlap by more than this IoU, only the one with the best score is kept.
        min_size: Side in pixels that a face must have in a smaller view. None means the share LARGE of that view.
        score_threshold: Least score of a face.
        vote_iou: If given, box and landmarks become the average of all candidates with at least this IoU, weighted by
            the squares of their scores (box voting: Gidaris & Komodakis 2015).
        pixel_offset: Coordinate of the upper left corner of the picture: -0.5 if the candidates count from the centre
            of the first pixel, 0 if they count from its corner.

    Returns:
        The faces in pixels of `image`, best score first.
    """
    height, width = image.shape[:2]
    found = []
    for side in sides:
        small = resize_longest_side(image, side)
        faces = candidates(small, side)
        if side < sides[0]:
            least = LARGE * side if min_size is None else min_size
            faces = faces.take(faces.boxes[:, 2:].prod(1) > least**2)
        across, down = width / small.shape[1], height / small.shape[0]
        found.append(faces.scaled((across, down), (pixel_offset * (1 - across), pixel_offset * (1 - down))))
    faces = Detections.concatenate(found)
    kept = cv2.dnn.NMSBoxes(faces.boxes.tolist(), faces.scores.tolist(), score_threshold, nms_iou)
    best = faces.take(np.array(kept, np.intp).ravel())
    return best if vote_iou is None else _voted(best, faces, vote_iou)


def _voted(best: Detections, faces: Detections, vote_iou: float) -> Detections:
    """Move each of the best faces to the weighted average of the faces that overlap with it; scores stay."""
    overlaps = box_iou(best.boxes, faces.boxes) >= vote_iou
    weights = overlaps * faces.scores**2  # (N, M)
    weights /= weights.sum(1, keepdims=True)
    landmarks = weights @ faces.landmarks.reshape(-1, 10)
    return Detections(weights @ faces.boxes, landmarks.reshape(-1, 5, 2), best.scores)
