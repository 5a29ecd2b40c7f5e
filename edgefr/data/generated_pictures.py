"""Pictures that are the same on every machine and in every version, to recognise a net by what it computes."""

from __future__ import annotations

import hashlib

import numpy as np

from edgefr.types import FACE_SIZE, Faces

CELLS = 7
"""Each picture interpolates a grid of 8x8 random colours between 7x7 cells of 16x16 pixels."""


def generated_pictures(count: int) -> Faces:
    """Smooth patterns of random colours.

    They are computed from SHA-3 with integers only: random generators, decoders and scaling differ between versions of
    libraries. A change of the net shows in their embeddings about as much as in those of faces (docs/adopting.md).

    Args:
        count: Number of pictures.

    Returns:
        (count, 112, 112, 3) uint8 RGB.
    """
    size = FACE_SIZE // CELLS
    cell, offset = np.divmod(np.arange(FACE_SIZE), size)
    above, beside = offset[:, None, None], offset[None, :, None]
    pictures = np.empty((count, FACE_SIZE, FACE_SIZE, 3), np.uint8)
    for number in range(count):
        drawn = hashlib.shake_256(b"edgefr picture %d" % number).digest(3 * (CELLS + 1) ** 2)
        grid = np.frombuffer(drawn, np.uint8).astype(np.int64).reshape(CELLS + 1, CELLS + 1, 3)
        rows = grid[cell] * (size - above) + grid[cell + 1] * above  # (112, 8, 3)
        pictures[number] = (rows[:, cell] * (size - beside) + rows[:, cell + 1] * beside) // size**2
    return pictures
