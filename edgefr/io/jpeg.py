"""Decodes pictures within bounds of size. JPEG files can be made smaller while they are decoded."""

from __future__ import annotations

import cv2

from edgefr.io.photo import decode_pixels
from edgefr.io.picture_header import PhotoHeader, read_header
from edgefr.types import Image

MAX_PICTURE_BYTES = 32 << 20
MAX_PIXELS = 32_000_000
"""Most pixels of a decoded picture: more than a photograph of any protocol has."""
MAX_STORED_PIXELS = 100_000_000
"""Most pixels in the file: a progressive JPEG is held whole, at six bytes a pixel, whatever size it is decoded to."""

REDUCED = {8: cv2.IMREAD_REDUCED_COLOR_8, 4: cv2.IMREAD_REDUCED_COLOR_4, 2: cv2.IMREAD_REDUCED_COLOR_2}


def decode_picture(encoded: bytes, source: str, at_least: int | None = None) -> Image:
    """Decode a picture, upright.

    Args:
        encoded: The bytes of the file.
        source: Name of the picture for messages.
        at_least: Pixels that the short side must keep. A JPEG file is then reduced by 2, 4 or 8 where possible, which
            takes less time and memory because its decoder transforms fewer coefficients. None keeps the whole size.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        UnreadableImageError: The bytes are not a whole picture of a known kind, see `read_header`.
        ValueError: The picture is too large; its text says what was found.
    """
    header = read_header(encoded, source)
    pixels, divisor = header.width * header.height, _divisor(header, at_least)
    if pixels > MAX_STORED_PIXELS or pixels > MAX_PIXELS * divisor**2:
        raise ValueError(f"{header.width}x{header.height} pixels")
    return decode_pixels(encoded, header, source, REDUCED.get(divisor, cv2.IMREAD_COLOR))


def _divisor(header: PhotoHeader, at_least: int | None) -> int:
    if at_least is None or header.format != "JPEG":
        return 1
    short = min(header.width, header.height)
    return next((divisor for divisor in REDUCED if short // divisor >= at_least), 1)
