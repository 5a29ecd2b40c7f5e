"""From a picture's bytes to its pixels, with bounds; JPEG files can be made smaller while they are decoded."""

from __future__ import annotations

import cv2
import numpy as np

from edgefr.io.picture_header import PhotoHeader, read_header
from edgefr.types import Image

MAX_PICTURE_BYTES = 32 << 20
MAX_PIXELS = 32_000_000
"""Decoded: more than any protocol's photograph has."""
MAX_STORED_PIXELS = 100_000_000
"""In the file: a progressive JPEG is held whole, at six bytes a pixel, however small it is decoded."""

REDUCED = {8: cv2.IMREAD_REDUCED_COLOR_8, 4: cv2.IMREAD_REDUCED_COLOR_4, 2: cv2.IMREAD_REDUCED_COLOR_2}


def decode_picture(encoded: bytes, source: str, at_least: int | None = None) -> Image:
    """Decode a picture to (H, W, 3) uint8 RGB, upright.

    With `at_least`, a JPEG is reduced by 2, 4 or 8, as far as its short side keeps that many pixels: its decoder
    then transforms fewer coefficients, and time and memory fall with the pixels. Other kinds come whole.

    Raises:
        EdgefrError: the bytes are no whole picture of a known kind, in the words of `read_header`.
        ValueError: what else is wrong, as what was found.
    """
    header = read_header(encoded, source)
    pixels, divisor = header.width * header.height, _divisor(header, at_least)
    if pixels > MAX_STORED_PIXELS or pixels > MAX_PIXELS * divisor**2:
        raise ValueError(f"{header.width}x{header.height} pixels")
    try:
        bgr = cv2.imdecode(np.frombuffer(encoded, np.uint8), REDUCED.get(divisor, cv2.IMREAD_COLOR))
    except cv2.error as error:
        raise ValueError("one that cannot be decoded") from error
    if bgr is None:
        raise ValueError("one that cannot be decoded")
    return np.ascontiguousarray(np.asarray(bgr)[..., ::-1])


def _divisor(header: PhotoHeader, at_least: int | None) -> int:
    if at_least is None or header.format != "JPEG":
        return 1
    short = min(header.width, header.height)
    return next((divisor for divisor in REDUCED if short // divisor >= at_least), 1)
