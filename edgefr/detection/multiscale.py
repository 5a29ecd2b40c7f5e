"""One photograph seen at several sizes, so that a detector finds small faces and those that fill the picture."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from edgefr.detection.base import Face
from edgefr.types import Floats, Image

LARGE = 1 / 3
"""A face counts as filling the picture when its box is this large, as the root of its area against the longest
side. The smaller view may add no others: there it mostly saw false ones."""


def resize_longest_side(image: Image, side: int) -> Image:
    """`image` with its longest side made `side`."""
    height, width = image.shape[:2]
    scale = side / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    small: Image = cv2.resize(image, size, interpolation=how)
    return small


def detect_multiscale(
    image: Image,
    sides: tuple[int, ...],
    candidates: Callable[[Image, int], Floats],
    overlap: float,
    least: float | None = None,
    score: float = 0.0,
    vote: float | None = None,
    corner: float = 0.0,
) -> list[Face]:
    """Join what `candidates` finds in `image` at each of `sides`; of boxes with IoU over `overlap` one stays, if its
    score reaches `score`.

    `candidates` gets the resized picture and its longest side; it gives rows of 15 in pixels of that picture:
    x, y, width, height, five points as x, y, score (OpenCV's order). What a smaller view adds has a side of at least
    `least` of its pixels, by default of LARGE. With `vote`, a face lies where all candidates with at least that IoU
    see it, on the average weighted by the squares of their scores (box voting: Gidaris & Komodakis 2015). `corner` is
    where the candidates have the picture's upper left corner: -0.5 if they count from the middle of the first pixel.
    """
    height, width = image.shape[:2]
    found = []
    for side in sides:
        small = resize_longest_side(image, side)
        rows = candidates(small, side)  # (N, 15)
        if side < sides[0]:
            rows = rows[rows[:, 2] * rows[:, 3] > (LARGE * side if least is None else least) ** 2]
        back = width / small.shape[1], height / small.shape[0]
        shift = [corner * (1 - scale) for scale in back]
        found.append(rows * np.array([*back * 7, 1], np.float32) + np.array([*shift, 0, 0, *shift * 5, 0], np.float32))
    rows = np.concatenate(found)
    kept = np.array(cv2.dnn.NMSBoxes(rows[:, :4].tolist(), rows[:, 14].tolist(), score, overlap), np.intp).ravel()
    return [_face(rows[index] if vote is None else _voted(rows[index], rows, vote)) for index in kept]


def _voted(row: Floats, rows: Floats, vote: float) -> Floats:
    """The weighted average of those of `rows` (N, 15) that have so much IoU with `row`, under its own score."""
    corner = np.maximum(row[:2], rows[:, :2])
    across, down = np.clip(np.minimum(row[:2] + row[2:4], rows[:, :2] + rows[:, 2:4]) - corner, 0, None).T
    common = across * down
    near = common >= vote * (row[2] * row[3] + rows[:, 2] * rows[:, 3] - common)
    weights = rows[near, 14] ** 2
    mean = weights @ rows[near] / weights.sum()
    return np.append(mean[:14], row[14]).astype(np.float32)


def _face(row: Floats) -> Face:
    x, y, width, height = row[:4].tolist()
    return Face((x, y, width, height), row[4:14].reshape(5, 2), float(row[14]))
