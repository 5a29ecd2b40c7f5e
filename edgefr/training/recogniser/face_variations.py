"""Strong augmentation: endless face-like pictures from few faces, rotated, recoloured, blended or with swapped parts.

A teacher has an embedding for any of them. A student that starts from random weights thus sees more faces than there
are people.
"""

from __future__ import annotations

import cv2
import numpy as np

from edgefr.data.degradations import Rng
from edgefr.training.recogniser.training_faces import blend, mix, warp
from edgefr.types import FACE_SIZE, Image

PARTS = (
    (18, 36, 94, 66),
    (40, 44, 72, 84),
    (30, 80, 82, 112),
    (0, 0, 112, 58),
    (0, 0, 56, 112),
    (18, 32, 94, 108),
)
"""Eyes, nose, mouth, upper half, left half and inner face around the template's landmarks: left, top, right, bottom."""

STRENGTH = 4.0
"""Strength of the warp, in units of a detector's error."""


def variation(face: Image, other: Image, rng: Rng) -> tuple[Image, bool]:
    """Make a random variation of a face.

    Args:
        face: (112, 112, 3), aligned.
        other: A face of another person.
        rng: Random generator.

    Returns:
        The picture, and whether it shows only the first person; otherwise `other` is mixed in.
    """
    kind = rng.integers(3)
    if kind == 1:
        face = blend(face, other, rng)
    elif kind == 2:
        face = swap_part(face, other, rng)
    if rng.random() < 0.7:
        face = warp(face, rng, STRENGTH)
    if rng.random() < 0.7:
        face = recolour(face, rng)
    return face, bool(kind == 0)


def swap_part(face: Image, other: Image, rng: Rng) -> Image:
    """Replace one part of an aligned face by that of another, with a soft edge."""
    left, top, right, bottom = PARTS[rng.integers(len(PARTS))]
    share = np.zeros((FACE_SIZE, FACE_SIZE), np.float32)
    share[top:bottom, left:right] = 1
    soft = cv2.GaussianBlur(share, (0, 0), rng.uniform(2, 7), borderType=cv2.BORDER_REPLICATE)
    return mix(other, face, np.asarray(soft)[..., None])


def recolour(face: Image, rng: Rng) -> Image:
    """Change gamma, contrast, brightness and tint at random; one picture in eight becomes grey."""
    if rng.random() < 0.125:
        face = np.asarray(cv2.cvtColor(cv2.cvtColor(face, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB), np.uint8)
    gamma, contrast = np.exp(rng.normal(0, (0.3, 0.2)))
    tint = np.exp(rng.normal(0, 0.06, 3))
    levels = (np.linspace(0, 1, 256)[:, None] ** gamma - 0.5) * contrast + 0.5 + rng.normal(0, 0.06)  # (256, 1)
    table = np.clip(np.rint(255 * levels * tint), 0, 255).astype(np.uint8)  # (256, 3)
    return np.asarray(cv2.LUT(face, table[None]), np.uint8)
