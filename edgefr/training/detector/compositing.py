"""A photograph laid on a canvas: turned, scaled, mirrored, cut out - and where its faces went."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from edgefr.data.degradations import Rng
from edgefr.training.detector.backgrounds import background
from edgefr.training.detector.label_averaging import moved
from edgefr.training.detector.labelled_photographs import Photographs
from edgefr.training.recogniser.training_faces import mix
from edgefr.types import Floats, Image

EDGE = 6
"""Pixels by which a soft edge reaches beyond an outline."""


def lay(photographs: Photographs, canvas: Image, at: tuple[float, float], size: float, rng: Rng, hard: float) -> Floats:
    """Lay a photograph or a part of it on the canvas, its main face of `size` pixels `at` a place; its finds there.
    A share of `hard` is chosen for a hard face."""
    index, place = chosen(photographs, rng, hard)
    picture, finds = photographs.pictures[index], photographs.finds[index]
    if len(finds) == 0:
        return np.zeros((0, 15), np.float32)
    main = finds[place]
    centre, box = main[:2] + main[2:4] / 2, main[2:4]
    scale = size / float(np.sqrt(box.prod()))
    picture, shrunk_back = _shrunk(picture, scale)
    turn = float(rng.normal(0, 15) if rng.random() < 0.7 else rng.uniform(-50, 50))
    matrix = cv2.getRotationMatrix2D((0, 0), turn, scale)
    if rng.random() < 0.5:
        matrix[0] *= -1
    matrix[:, 2] = at - matrix[:, :2] @ centre
    outline = _outline(np.array(photographs.pictures[index].shape[1::-1]), centre, box, rng)
    corners = np.rint(outline @ matrix[:, :2].T + matrix[:, 2]).astype(np.int32)
    left, top = np.clip(corners.min(0) - EDGE, 0, len(canvas))
    right, bottom = np.clip(corners.max(0) + EDGE, 0, len(canvas))
    if left < right and top < bottom:  # else it lies beside the canvas
        mask = np.zeros((bottom - top, right - left), np.uint8)
        cv2.fillConvexPoly(mask, corners - (left, top), 255)
        if rng.random() < 0.3:
            mask = np.asarray(cv2.GaussianBlur(mask, (0, 0), rng.uniform(0.5, EDGE / 2)), np.uint8)
        into = matrix @ shrunk_back - [[0, 0, left], [0, 0, top]]
        warped = np.asarray(cv2.warpAffine(picture, into, mask.shape[::-1], flags=cv2.INTER_LINEAR), np.uint8)
        window = canvas[top:bottom, left:right]
        window[:] = mix(warped, window, mask[..., None].astype(np.float32) / np.float32(255))
    return moved(finds, matrix)


def chosen(photographs: Photographs, rng: Rng, hard: float) -> tuple[int, int]:
    """Which photograph, and which of its finds is the main one: the largest or, for a share of `hard`, one that the
    teacher found hard. Those are a tenth of all faces, bystanders mostly, whom a choice by size would hardly show."""
    if len(photographs.hard) and rng.random() < hard:
        index, place = photographs.hard[rng.integers(len(photographs.hard))]
        return int(index), int(place)
    index = int(rng.integers(len(photographs)))
    boxes = photographs.finds[index][:, 2:4]
    return index, int(np.argmax(boxes.prod(1))) if len(boxes) else 0


def _shrunk(picture: Image, scale: float) -> tuple[Image, npt.NDArray[np.float64]]:
    """The picture made smaller by a whole number, as far as `scale` allows, and the map (3, 3) from its pixels back.

    A warp that shrinks by more than a half would step over pixels, and other numbers take ten times as long.
    """
    step = max(1, int(1 / scale))
    height, width = (length // step for length in picture.shape[:2])
    whole = picture[: height * step, : width * step]
    middle = (step - 1) / 2  # of the pixels that became one
    back = np.array([[step, 0, middle], [0, step, middle], [0, 0, 1]])
    return np.asarray(cv2.resize(whole, (width, height), interpolation=cv2.INTER_AREA), np.uint8), back


def _outline(size: npt.NDArray[np.int64], centre: Floats, box: Floats, rng: Rng) -> npt.NDArray[np.float64]:
    """What of a photograph of `size` is cut out, (N, 2) corners: the whole, a window around a face, or an oval head."""
    kind = rng.random()
    if kind >= 0.8:
        around = np.linspace(0, 2 * np.pi, 32)
        oval = centre + box * rng.uniform(0.6, 1.0, 2) * np.stack([np.cos(around), np.sin(around)], 1)
        return np.asarray(np.clip(oval, 0, size - 1), np.float64)
    low, high = np.zeros(2), size - 1.0
    if kind >= 0.45:
        reach = box * np.exp(rng.uniform(np.log(1.2), np.log(4), 2)) / 2
        low, high = np.maximum(centre - reach, low), np.minimum(centre + reach, high)
    return np.array([low, (high[0], low[1]), high, (low[0], high[1])])


def cover(photographs: Photographs, canvas: Image, faces: list[Floats], rng: Rng) -> None:
    """Lay something without a face over part of a face, or anywhere."""
    side = len(canvas)
    x, y = rng.uniform(0, side, 2)
    width, height = side * rng.uniform(0.05, 0.3, 2)
    boxes = np.concatenate([rows[:, :4] for rows in faces]) if faces else np.zeros((0, 4))
    if len(boxes) and rng.random() < 0.8:
        box = boxes[rng.integers(len(boxes))]
        x, y = box[:2] + box[2:] * rng.uniform(0, 1, 2)
        width, height = box[2:] * rng.uniform(0.25, 0.9, 2)
    left, top = int(max(0, x - width / 2)), int(max(0, y - height / 2))
    right, bottom = int(min(side, x + width / 2)), int(min(side, y + height / 2))
    if right > left and bottom > top:
        over = background(photographs, side, rng)
        canvas[top:bottom, left:right] = cv2.resize(over, (right - left, bottom - top), interpolation=cv2.INTER_AREA)
