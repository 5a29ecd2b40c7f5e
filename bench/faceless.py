"""Pictures without faces that no detector was trained on: pictures of objects in packages, generated patterns, and
held-out photographs whose faces are painted over."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np

from edgefr.data.collections import FaceFolder
from edgefr.detection.base import Detector, Face
from edgefr.training.detector.backgrounds import OBJECT_PICTURES, random_pattern
from edgefr.types import Image

OTHER_THINGS = ("coffee", "rocket", "moon", "text", "hubble_deep_field", "immunohistochemistry", "colorwheel", "logo")
"""scikit-image's pictures that are not used in training."""

PAINT_SCALE = 1.5
"""Enlarges the boxes of faces, so that hairline and chin are painted over."""


def make_faceless_pictures(folder: FaceFolder, names: list[str], detector: Detector, count: int) -> list[Image]:
    """The same `count` pictures (H, W, 3) every time. `detector` finds the faces in the photographs."""
    assert not set(OTHER_THINGS) & set(OBJECT_PICTURES)
    rng = np.random.default_rng(0)
    pictures = [*_things(), *(random_pattern(int(rng.integers(100, 400)), rng) for _ in range(count // 4))]
    chosen = np.linspace(0, len(names) - 1, count - len(pictures)).astype(int)
    pictures += [_painted_over(folder.read(names[index]), detector) for index in chosen]
    return pictures


def _things() -> Iterator[Image]:
    """Each picture, its quarters, and its centre enlarged."""
    from skimage import color, data, util
    from sklearn.datasets import load_sample_images

    wholes = [*(util.img_as_ubyte(getattr(data, name)()) for name in OTHER_THINGS), *load_sample_images().images]
    for whole in wholes:
        picture = color.gray2rgb(whole) if whole.ndim == 2 else whole[..., :3]
        height, width = (length // 2 for length in picture.shape[:2])
        yield np.ascontiguousarray(picture)
        for top in (0, height):
            for left in (0, width):
                yield np.ascontiguousarray(picture[top : top + height, left : left + width])
        middle = picture[height // 2 : height // 2 + height, width // 2 : width // 2 + width]
        yield cv2.resize(middle, None, fx=1.7, fy=1.7)


def _painted_over(photo: Image, detector: Detector) -> Image:
    mask = np.zeros(photo.shape[:2], np.uint8)
    for face in detector.detect(photo):
        _paint(mask, face)
    return np.asarray(cv2.inpaint(photo, mask, 3, cv2.INPAINT_TELEA), np.uint8)


def _paint(mask: Image, face: Face) -> None:
    x, y, width, height = face.box
    centre = round(x + width / 2), round(y + height / 2)
    cv2.ellipse(mask, centre, (round(width * PAINT_SCALE / 2), round(height * PAINT_SCALE / 2)), 0, 0, 360, 255, -1)
