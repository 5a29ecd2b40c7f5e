"""Face-like pictures without end from few faces: turned and recoloured ones, blends of two, parts of one in another.

A teacher answers to any of them, so a student that starts from nothing sees more faces than there are people.
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
"""How much farther than a detector errs a variation is turned, scaled and moved."""


def variation(face: Image, other: Image, rng: Rng) -> tuple[Image, bool]:
    """A picture made from a face, and whether it still shows only this person: else `other` is mixed in."""
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
    """One part of an aligned face from another, with a soft edge."""
    left, top, right, bottom = PARTS[rng.integers(len(PARTS))]
    share = np.zeros((FACE_SIZE, FACE_SIZE), np.float32)
    share[top:bottom, left:right] = 1
    soft = cv2.GaussianBlur(share, (0, 0), rng.uniform(2, 7), borderType=cv2.BORDER_REPLICATE)
    return mix(other, face, np.asarray(soft)[..., None])


def recolour(face: Image, rng: Rng) -> Image:
    """Other light: gamma, contrast, brightness and a tint; one in eight grey."""
    if rng.random() < 0.125:
        face = np.asarray(cv2.cvtColor(cv2.cvtColor(face, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB), np.uint8)
    gamma, contrast = np.exp(rng.normal(0, (0.3, 0.2)))
    tint = np.exp(rng.normal(0, 0.06, 3))
    levels = (np.linspace(0, 1, 256)[:, None] ** gamma - 0.5) * contrast + 0.5 + rng.normal(0, 0.06)  # (256, 1)
    table = np.clip(np.rint(255 * levels * tint), 0, 255).astype(np.uint8)  # (256, 3)
    return np.asarray(cv2.LUT(face, table[None]), np.uint8)
