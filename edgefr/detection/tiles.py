"""Detection in overlapping tiles of a large picture, for faces that are too small in a view of the whole picture."""

from __future__ import annotations

import math
from collections.abc import Iterator

import cv2
import numpy as np

from edgefr.detection.base import FINEST_SIDE, Detections, FileDetector
from edgefr.detection.geometry import covered_share
from edgefr.detection.multiscale import resize_longest_side
from edgefr.types import Image

TILE = 1024
"""Side of a tile in pixels, which is the largest view of a whole picture that the detectors search."""
OVERLAP = 256
"""Pixels that neighbouring tiles share. A larger face than this is found in the view of the whole picture."""
SIDES = (2048, FINEST_SIDE)
"""Longest sides in pixels of the copies that are cut into tiles, one after the other until a face is found."""
LEAST_GAIN = 1.25
"""A copy that is not this many times as large as a tile shows nothing that the whole picture did not show."""
TILE_SCORE = 0.9
"""Least score of a face, of the detector's `upright_score`. A picture has up to 34 tiles, and each one could have a
false detection: on 808 scenes without a face, a limit of 0.8 lets a dog and a shield through, 0.9 nothing
(`python -m bench.large_photographs`)."""
NMS_IOU, NESTED = 0.4, 0.6


def detect_in_tiles(detector: FileDetector, image: Image) -> Detections:
    """Find small faces in a picture in which none was found as a whole.

    Args:
        detector: Finds the faces.
        image: (H, W, 3) uint8 RGB, upright.

    Returns:
        The faces in pixels of `image`, best score first. None if the picture is hardly larger than a tile.
    """
    longest = max(image.shape[:2])
    for side in sorted({min(side, longest) for side in SIDES}):
        if side < LEAST_GAIN * TILE:
            continue
        copy = image if side == longest else resize_longest_side(image, side)
        scale = image.shape[1] / copy.shape[1], image.shape[0] / copy.shape[0]
        found = [
            # The centre of the first pixel lies at 0, as in OpenCV's warp.
            detector.detect_once(np.ascontiguousarray(copy[y : y + TILE, x : x + TILE])).scaled(
                scale, ((x + 0.5) * scale[0] - 0.5, (y + 0.5) * scale[1] - 0.5)
            )
            for x, y in _corners(*copy.shape[:2])
        ]
        if len(faces := _join(Detections.concatenate(found), TILE_SCORE * detector.upright_score)):
            return faces
    return Detections.from_faces([])


def _corners(height: int, width: int) -> Iterator[tuple[int, int]]:
    """The upper left corners, x and y, of tiles that cover a picture."""
    for y in _starts(height):
        for x in _starts(width):
            yield x, y


def _starts(length: int) -> list[int]:
    count = max(1, math.ceil((length - OVERLAP) / (TILE - OVERLAP)))
    return [round(start) for start in np.linspace(0, max(length - TILE, 0), count)]


def _join(faces: Detections, least: float) -> Detections:
    """The best of the detections of one face, which may lie in up to four tiles, or be cut by their edges."""
    kept = cv2.dnn.NMSBoxes(faces.boxes.tolist(), faces.scores.tolist(), least, NMS_IOU)
    best = faces.take(np.array(kept, np.intp).ravel())
    inside = covered_share(best.boxes, best.boxes)
    return best.take([index for index in range(len(best)) if (inside[index, :index] <= NESTED).all()])
