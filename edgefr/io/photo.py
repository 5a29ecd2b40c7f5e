"""Reads photographs of any size and kind that phones and cameras make, upright, as RGB."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from edgefr.errors import UnreadableImageError
from edgefr.io.heif import decode_heif
from edgefr.io.opencv import silence_opencv
from edgefr.io.picture_header import PhotoHeader, read_header
from edgefr.io.tiff_alpha import ignore_alpha
from edgefr.types import Image

MAX_BYTES = 256 << 20
MAX_PIXELS = 100_000_000
MAX_SIDE = 32_766
"""The longest side that OpenCV's warp accepts, which cuts faces out."""
MIN_SIDE = 16
HEIF_FORMATS = {"HEIC", "AVIF"}


def read_photograph(path: Path) -> Image:
    """Read a photograph from a file.

    Args:
        path: A still picture of 8 bits a channel, grey or RGB, of 16 pixels a side to 100 megapixels. HEIC and AVIF
            files need the extra `photos`, may have more bits, and give their primary picture.

    Returns:
        (H, W, 3) uint8 RGB, upright: OpenCV's decoder applies the EXIF orientation (`cv2.IMREAD_COLOR`), and those of
        HEIC and AVIF apply the rotation of the file. Grey pictures become RGB, and transparency is dropped.

    Raises:
        UnreadableImageError: The file cannot be read, or holds another kind of picture.
    """
    return decode_photograph(_read(path), str(path))


def decode_photograph(data: bytes, source: str, max_pixels: int = MAX_PIXELS) -> Image:
    """Decode a photograph from the bytes of its file.

    Args:
        data: The bytes of the file.
        source: Name of the picture for messages.
        max_pixels: Most pixels that it may have.

    Returns:
        As `read_photograph`.

    Raises:
        UnreadableImageError: The bytes hold another kind of picture, or a larger one.
    """
    header = read_header(data, source)
    _check(header, source, max_pixels)
    return decode_pixels(data, header, source)


def decode_pixels(data: bytes, header: PhotoHeader, source: str, flags: int = cv2.IMREAD_COLOR) -> Image:
    """Decode a picture whose header was read and found acceptable.

    Args:
        data: The bytes of the file.
        header: Its header.
        source: Name of the picture for messages.
        flags: Colour and reduction for OpenCV's decoder, which reads all formats but HEIC and AVIF.

    Returns:
        As `read_photograph`.

    Raises:
        UnreadableImageError: It cannot be decoded.
    """
    if header.format in HEIF_FORMATS:
        return decode_heif(data, header, source)
    try:
        with silence_opencv():
            bgr = cv2.imdecode(np.frombuffer(ignore_alpha(data), np.uint8), flags)
    except cv2.error:
        bgr = None
    if bgr is None:
        raise UnreadableImageError(
            f"a whole photograph in {source}",
            "one that cannot be decoded",
            "copy or download the file again, or save it as JPEG",
        )
    rgb: Image = cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB, dst=bgr)  # in place: a copy could be the peak of the memory
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


def _check(header: PhotoHeader, source: str, max_pixels: int) -> None:
    size = f"{header.width} x {header.height} pixels"
    if header.frames != 1:
        expected, found, mend = "one still picture", f"{header.frames} or more frames", "save one of them"
    elif header.cmyk:
        expected, found, mend = "RGB or grey colours", "CMYK", "save it as RGB"
    elif header.bits > 8 and header.format not in HEIF_FORMATS:  # phones store photographs with 10 bits in these
        expected, found, mend = "8 bits per channel", str(header.bits), "save it with 8 bits"
    elif min(header.width, header.height) < MIN_SIDE:
        expected, found, mend = f"at least {MIN_SIDE} pixels a side", size, "give a larger photograph"
    elif header.width * header.height > max_pixels or max(header.width, header.height) > MAX_SIDE:
        expected = f"at most {max_pixels // 1_000_000} megapixels and {MAX_SIDE} pixels a side"
        found, mend = size, "save it smaller"
    else:
        return
    raise UnreadableImageError(f"{expected} in {source}", found, mend)
