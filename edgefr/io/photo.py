"""Photographs from files: any size and kind a phone or camera makes, upright, as RGB."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from edgefr.errors import UnreadableImageError
from edgefr.io.opencv import silence_opencv
from edgefr.io.picture_header import PhotoHeader, read_header
from edgefr.types import Image

MAX_BYTES = 256 << 20
MAX_PIXELS = 100_000_000
MAX_SIDE = 32_766
"""OpenCV's warp, which cuts faces out, takes no longer side."""
MIN_SIDE = 16


def read_photograph(path: Path) -> Image:
    """Read a photograph as (H, W, 3) uint8 RGB, upright: OpenCV's decoder applies the EXIF orientation.

    Grey pictures become RGB; transparency is dropped.

    Raises:
        EdgefrError: the file cannot be read, or holds no still 8-bit grey or RGB picture of 16 pixels a side
            to 100 megapixels.
    """
    return decode_photograph(_read(path), str(path))


def decode_photograph(data: bytes, source: str, most_pixels: int = MAX_PIXELS) -> Image:
    """A photograph's file in memory as `read_photograph` gives it; `source` names it in errors.

    Raises:
        EdgefrError: as `read_photograph`, or the picture has more than `most_pixels`.
    """
    _check(read_header(data, source), source, most_pixels)
    try:
        with silence_opencv():
            bgr = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error:
        bgr = None
    if bgr is None:
        raise UnreadableImageError(
            f"a whole photograph in {source}",
            "one that cannot be decoded",
            "copy or download the file again, or save it as JPEG",
        )
    rgb: Image = cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)
    return rgb


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except FileNotFoundError:
        found, mend = "no such file", "check the name"
    except IsADirectoryError:
        found, mend = "a directory", "name a file in it"
    except PermissionError:
        found, mend = "that reading it is not permitted", "change its permissions"
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
        found, mend = f"that it cannot be read ({error})", "copy it to a local disk"
    else:
        if not data:
            found, mend = "an empty file", "copy or download it again"
        elif len(data) > MAX_BYTES:
            found, mend = f"more than {MAX_BYTES >> 20} MiB", "save it smaller"
        else:
            return data
    raise UnreadableImageError(f"a photograph at {path}", found, mend)


def _check(header: PhotoHeader, source: str, most_pixels: int) -> None:
    size = f"{header.width} x {header.height} pixels"
    if header.frames != 1:
        expected, found, mend = "one still picture", f"{header.frames} or more frames", "save one of them"
    elif header.cmyk:
        expected, found, mend = "RGB or grey colours", "CMYK", "save it as RGB"
    elif header.bits > 8:
        expected, found, mend = "8 bits per channel", str(header.bits), "save it with 8 bits"
    elif min(header.width, header.height) < MIN_SIDE:
        expected, found, mend = f"at least {MIN_SIDE} pixels a side", size, "give a larger photograph"
    elif header.width * header.height > most_pixels or max(header.width, header.height) > MAX_SIDE:
        expected = f"at most {most_pixels // 1_000_000} megapixels and {MAX_SIDE} pixels a side"
        found, mend = size, "save it smaller"
    else:
        return
    raise UnreadableImageError(f"{expected} in {source}", found, mend)
