"""Pasting faces from photographs and occluders onto a canvas."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from edgefr.data.degradations import Rng
from edgefr.detection.base import Detections
from edgefr.detection.geometry import warp_detections
from edgefr.training.detector.backgrounds import random_background
from edgefr.training.detector.labelled_photographs import LabelledPhotographs
from edgefr.training.recogniser.training_faces import mix
from edgefr.types import Floats, Image

MAX_EDGE = 6
"""Pixels by which a soft edge reaches beyond an outline."""


def paste_face(
    photographs: LabelledPhotographs, canvas: Image, centre: tuple[float, float], size: float, rng: Rng, hard: float
) -> Detections:
    """Paste a photograph or a part of it onto the canvas, rotated, scaled and perhaps mirrored.

    Args:
        photographs: Where faces come from.
        canvas: (S, S, 3), changed in place.
        centre: x and y of the middle of the main face on the canvas.
        size: Size of the main face in pixels.
        rng: Random generator.
        hard: Share of photographs that are selected for a hard face.

    Returns:
        The faces of the photograph on the canvas.
    """
    index, main = choose_face(photographs, rng, hard)
    picture, labels = photographs.pictures[index], photographs.labels[index]
    if not labels:
        return labels
    box = labels.boxes[main]
    middle, extent = box[:2] + box[2:] / 2, box[2:]
    scale = size / float(np.sqrt(extent.prod()))
    shrunk, shrunk_to_picture = _shrink(picture, scale)
    turn = float(rng.normal(0, 15) if rng.random() < 0.7 else rng.uniform(-50, 50))
    matrix = cv2.getRotationMatrix2D((0, 0), turn, scale)
    if rng.random() < 0.5:
        matrix[0] *= -1
    matrix[:, 2] = centre - matrix[:, :2] @ middle
    outline = _outline(np.array(picture.shape[1::-1]), middle, extent, rng)
    corners = np.rint(outline @ matrix[:, :2].T + matrix[:, 2]).astype(np.int32)
    left, top = np.clip(corners.min(0) - MAX_EDGE, 0, len(canvas))
    right, bottom = np.clip(corners.max(0) + MAX_EDGE, 0, len(canvas))
    if left < right and top < bottom:  # otherwise it lies outside the canvas
        mask = np.zeros((bottom - top, right - left), np.uint8)
        cv2.fillConvexPoly(mask, corners - (left, top), 255)
        if rng.random() < 0.3:
            mask = np.asarray(cv2.GaussianBlur(mask, (0, 0), rng.uniform(0.5, MAX_EDGE / 2)), np.uint8)
        shrunk_to_window = matrix @ shrunk_to_picture - [[0, 0, left], [0, 0, top]]
        warped = cv2.warpAffine(shrunk, shrunk_to_window, mask.shape[::-1], flags=cv2.INTER_LINEAR)
        window = canvas[top:bottom, left:right]
        window[:] = mix(np.asarray(warped, np.uint8), window, mask[..., None].astype(np.float32) / np.float32(255))
    return warp_detections(labels, matrix)


def choose_face(photographs: LabelledPhotographs, rng: Rng, hard: float) -> tuple[int, int]:
    """Choose a photograph and its main face: the largest, or for a share of `hard` one that is hard for the teacher.

    Hard faces are a tenth of all. Most are bystanders, which a choice by size would rarely select.

    Returns:
        Index of the photograph and of the face in it.
    """
    if len(photographs.hard) and rng.random() < hard:
        index, face = photographs.hard[rng.integers(len(photographs.hard))]
        return int(index), int(face)
    index = int(rng.integers(len(photographs)))
    sizes = photographs.labels[index].boxes[:, 2:]
    return index, int(np.argmax(sizes.prod(1))) if len(sizes) else 0


def paste_occluder(photographs: LabelledPhotographs, canvas: Image, faces: Detections, rng: Rng) -> None:
    """Cover a part of one of the faces, or any part of the canvas (S, S, 3), with a faceless picture."""
    side = len(canvas)
    x, y = rng.uniform(0, side, 2)
    width, height = side * rng.uniform(0.05, 0.3, 2)
    if faces and rng.random() < 0.8:
        box = faces.boxes[rng.integers(len(faces))]
        x, y = box[:2] + box[2:] * rng.uniform(0, 1, 2)
        width, height = box[2:] * rng.uniform(0.25, 0.9, 2)
    left, top = int(max(0, x - width / 2)), int(max(0, y - height / 2))
    right, bottom = int(min(side, x + width / 2)), int(min(side, y + height / 2))
    if right > left and bottom > top:
        occluder = random_background(photographs, side, rng)
        size = right - left, bottom - top
        canvas[top:bottom, left:right] = cv2.resize(occluder, size, interpolation=cv2.INTER_AREA)


def _shrink(picture: Image, scale: float) -> tuple[Image, npt.NDArray[np.float64]]:
    """Shrink a picture by a whole number, as far as `scale` allows; also returns the map (3, 3) back to its pixels.

    A warp that shrinks by more than a half would skip pixels, and shrinking by other numbers takes ten times as long.
    """
    step = max(1, int(1 / scale))
    height, width = (length // step for length in picture.shape[:2])
    whole = picture[: height * step, : width * step]
    middle = (step - 1) / 2  # of the pixels that became one
    back = np.array([[step, 0, middle], [0, step, middle], [0, 0, 1]])
    return np.asarray(cv2.resize(whole, (width, height), interpolation=cv2.INTER_AREA), np.uint8), back


def _outline(size: npt.NDArray[np.int64], middle: Floats, extent: Floats, rng: Rng) -> npt.NDArray[np.float64]:
    """Corners (N, 2) of the part to cut out of a photograph: all of it, a window around the face, or an oval head."""
    kind = rng.random()
    if kind >= 0.8:
        angle = np.linspace(0, 2 * np.pi, 32)
        oval = middle + extent * rng.uniform(0.6, 1.0, 2) * np.stack([np.cos(angle), np.sin(angle)], 1)
        return np.asarray(np.clip(oval, 0, size - 1), np.float64)
    low, high = np.zeros(2), size - 1.0
    if kind >= 0.45:
        reach = extent * np.exp(rng.uniform(np.log(1.2), np.log(4), 2)) / 2
        low, high = np.maximum(middle - reach, low), np.minimum(middle + reach, high)
    return np.array([low, (high[0], low[1]), high, (low[0], high[1])])
