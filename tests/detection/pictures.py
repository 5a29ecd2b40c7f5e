"""Pictures and parts of files that several tests use."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
from PIL import Image as Pillow

from edgefr.types import Image


def gradient(height: int, width: int) -> Image:
    """A smooth picture without symmetry, which JPEG hardly changes."""
    y, x = np.mgrid[:height, :width] / max(height, width)
    return (np.stack([x, y, x * y], -1) * 255).astype(np.uint8)


def encoded(picture: Pillow.Image, kind: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, kind, **options)
    return stream.getvalue()


def png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_claiming(width: int, height: int, pixels: bytes = b"") -> bytes:
    """A complete PNG whose header claims more pixels than it has."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = (b"IHDR", header), (b"IDAT", zlib.compress(pixels)), (b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(*part) for part in parts)
