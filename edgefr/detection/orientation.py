"""Faces in pictures that are turned by 90, 180 or 270 degrees.

A detector that sees such a picture often finds a face in it, with landmarks as if the face were upright. Its crop is
then upside down, and embeddings of upside-down faces resemble each other whoever they show. So the orientation is
checked unless a face has a score that turned faces do not reach.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from edgefr.detection.base import Detections, FileDetector
from edgefr.detection.tiles import detect_in_tiles
from edgefr.types import Floats, Image

MOST_CROPS = 3
"""Faces of a picture that are looked at in all orientations; the most prominent ones."""
MARGIN = 0.6
"""Context around the box of a checked face, as a share of its longer side on each side."""
CROP_SIDE = 128
"""Longest side in pixels of a checked crop. Detectors find its face at a small part of the cost of a whole picture."""
PLAUSIBLE = 0.6
"""A face below this score in the crop of its best orientation may be a false detection: the whole picture is searched
in the other orientations."""
TURNED_SCORE = 0.8
"""Least score of a face in a turned picture, of the detector's `upright_score`; true faces have nearly all of it. A low
limit here would give four chances to false detections."""


class UprightDetector:
    """A detector that also finds faces in turned pictures, at their landmarks in the picture as it is."""

    def __init__(self, detector: FileDetector, open_again: Callable[[int], FileDetector] | None = None) -> None:
        """Use a detector that is open; `detector_registry.open_detector` opens it.

        Args:
            detector: The detector.
            open_again: Opens it once more with a number of threads, for `copy`.
        """
        self.name = detector.name
        self.as_is = detector
        """The detector itself, for pictures whose orientation is known."""
        self._open_again = open_again

    def copy(self, threads: int) -> UprightDetector | None:
        """The same detector for another thread, with so many threads of its own; None if it cannot be opened again."""
        again = self._open_again
        return None if again is None else UprightDetector(again(threads), again)

    def detect(self, image: Image) -> Detections:
        """Find all faces, see `Detector.detect`.

        All faces of a picture have one orientation: that of its most prominent faces. A large picture in which no face
        is found is searched in tiles, see `tiles`.
        """
        faces = self.as_is.detect(image)
        turns = find_turns(self.as_is, image, faces)
        faces = detect_turned(self.as_is, image, turns) if turns else faces
        return faces if len(faces) else detect_in_tiles(self.as_is, image)


def find_turns(detector: FileDetector, image: Image, faces: Detections) -> int:
    """Find how a picture must be turned so that its faces are upright.

    Args:
        detector: Finds faces.
        image: (H, W, 3) uint8 RGB.
        faces: What the detector finds in the picture as it is.

    Returns:
        Number of quarter turns counterclockwise, 0 to 3, as `numpy.rot90` takes it; 0 if there is no better one.
    """
    if faces.scores.max(initial=0) >= detector.upright_score:
        return 0
    scores = np.zeros(4)
    for crop in _crops(image, faces):
        scores = np.maximum(scores, [_best(detector.detect_once(turned(crop, turns))) for turns in range(4)])
    best = int(scores.argmax())
    needed = TURNED_SCORE * detector.upright_score
    if scores[best] >= (needed if best else PLAUSIBLE):
        return best
    whole = [_best(detector.detect(turned(image, turns))) for turns in (1, 2, 3)]
    best = int(np.argmax(whole))
    return best + 1 if whole[best] >= max(needed, faces.scores.max(initial=0)) else 0


def detect_turned(detector: FileDetector, image: Image, turns: int) -> Detections:
    """Find faces in a turned copy of a picture.

    Args:
        detector: Finds faces.
        image: (H, W, 3) uint8 RGB.
        turns: Quarter turns counterclockwise that make the faces upright.

    Returns:
        The faces in pixels of `image` as it is. Landmarks keep their meaning: the first is the eye that is left in the
        upright face.
    """
    found = detector.detect(turned(image, turns))
    corners = np.stack([found.boxes[:, :2], found.boxes[:, :2] + found.boxes[:, 2:]], 1)  # (N, 2, 2)
    corners = _turned_back(corners, turns, image.shape[:2])
    low, high = corners.min(1), corners.max(1)
    return Detections(np.hstack([low, high - low]), _turned_back(found.landmarks, turns, image.shape[:2]), found.scores)


def turned(image: Image, turns: int) -> Image:
    """A picture turned counterclockwise by quarter turns, as contiguous memory."""
    return np.ascontiguousarray(np.rot90(image, turns))


def _turned_back(points: Floats, turns: int, shape: tuple[int, int]) -> Floats:
    """Points (..., 2) of a turned picture in the picture of this height and width that was turned.

    The first pixel's centre lies at 0, as in OpenCV's warp.
    """
    height, width = shape
    x, y = points[..., 0], points[..., 1]
    back = ((x, y), (width - 1 - y, x), (width - 1 - x, height - 1 - y), (y, height - 1 - x))[turns]
    return np.stack(back, -1).astype(np.float32)


def _crops(image: Image, faces: Detections) -> list[Image]:
    """Small pictures of the most prominent faces with some context."""
    order = np.argsort(-faces.boxes[:, 2:].prod(1) * faces.scores)[:MOST_CROPS]
    crops = []
    for x, y, width, height in faces.boxes[order]:
        margin = MARGIN * max(width, height)
        low = np.floor(np.maximum([x - margin, y - margin], 0)).astype(int)
        high = np.ceil([x + width + margin, y + height + margin]).astype(int)
        crop = image[low[1] : high[1], low[0] : high[0]]
        if min(crop.shape[:2], default=0) < 2:
            continue  # the face lies beyond the edge
        scale = CROP_SIDE / max(crop.shape[:2])
        interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        size = max(1, round(crop.shape[1] * scale)), max(1, round(crop.shape[0] * scale))
        crops.append(np.asarray(cv2.resize(crop, size, interpolation=interpolation), np.uint8))
    return crops


def _best(faces: Detections) -> float:
    return float(faces.scores.max(initial=0))
