"""The part of a picture around a face that nets for presentation attack detection see.

It is larger than the face, because the edge of a sheet of paper or of a telephone tells more than the skin."""

from __future__ import annotations

import cv2
import numpy as np

from edgefr.types import Image

Box = tuple[float, float, float, float]


def face_window(image: Image, box: Box, scale: float, side: int) -> Image:
    """Cut out a window around a face, as minivision-ai's Silent-Face-Anti-Spoofing (`CropImage`) does.

    The window has the proportions of the box. Where it would reach beyond the picture it is moved, and where it is
    larger than the picture it is made smaller.

    Args:
        image: (H, W, 3) uint8.
        box: x, y, width and height of the face in pixels.
        scale: Size of the window, as a multiple of the box.
        side: Width and height of the result in pixels.

    Returns:
        (side, side, 3) uint8. The proportions of the window are lost.
    """
    height, width = image.shape[:2]
    x, y, box_width, box_height = box
    scale = min(scale, (height - 1) / max(box_height, 1), (width - 1) / max(box_width, 1))
    left, right = _span(x + box_width / 2, box_width * scale, width)
    top, bottom = _span(y + box_height / 2, box_height * scale, height)
    window = image[top : bottom + 1, left : right + 1]
    return np.asarray(cv2.resize(window, (side, side)), np.uint8)


def _span(middle: float, length: float, limit: int) -> tuple[int, int]:
    """First and last pixel of a window, moved into a picture of `limit` pixels."""
    first = min(max(middle - length / 2, 0), max(limit - 1 - length, 0))
    return int(first), int(min(first + length, limit - 1))
