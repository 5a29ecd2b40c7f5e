"""One photograph seen at two sizes, so that a detector finds small faces and those that fill the picture."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from edgefr.face.detect import Face
from edgefr.spec import Floats, Image

LARGE = 1 / 3
"""A face counts as filling the picture when its box is this large, as the root of its area against the longest
side. The smaller view may add no others: there it mostly saw false ones."""


def resized(image: Image, side: int) -> Image:
    """`image` with its longest side made `side`."""
    height, width = image.shape[:2]
    scale = side / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    small: Image = cv2.resize(image, size, interpolation=how)
    return small


def detect_at(
    image: Image,
    sides: tuple[int, ...],
    candidates: Callable[[Image, int], Floats],
    overlap: float,
    least: float | None = None,
) -> list[Face]:
    """Join what `candidates` finds in `image` at each of `sides`; of boxes with IoU over `overlap` one stays.

    `candidates` gets the resized picture and its longest side; it gives rows of 15 in pixels of that picture:
    x, y, width, height, five points as x, y, score (OpenCV's order). What a smaller view adds has a side of at least
    `least` of its pixels, by default of LARGE.
    """
    height, width = image.shape[:2]
    found = []
    for side in sides:
        small = resized(image, side)
        rows = candidates(small, side)  # (N, 15)
        if side < sides[0]:
            rows = rows[rows[:, 2] * rows[:, 3] > (LARGE * side if least is None else least) ** 2]
        back = width / small.shape[1], height / small.shape[0]
        found.append(rows * np.array([*back * 7, 1], np.float32))
    rows = np.concatenate(found)
    kept = cv2.dnn.NMSBoxes(rows[:, :4].tolist(), rows[:, 14].tolist(), 0.0, overlap)
    return [_face(rows[index]) for index in np.array(kept, np.intp).ravel()]


def _face(row: Floats) -> Face:
    x, y, width, height = row[:4].tolist()
    return Face((x, y, width, height), row[4:14].reshape(5, 2), float(row[14]))
