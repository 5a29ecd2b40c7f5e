"""Decodes HEIC and AVIF photographs, upright, with libraries of the extra `photos`."""

from __future__ import annotations

import io

import numpy as np

from edgefr.errors import MissingExtraError, UnreadableImageError, install_command, require_extra
from edgefr.io.picture_header import PhotoHeader
from edgefr.types import Image

EXTRA = "photos"


def decode_heif(data: bytes, header: PhotoHeader, source: str) -> Image:
    """Decode the primary picture of a HEIC or AVIF file.

    The properties `irot` and `imir` of the file turn the picture, as HEIF demands. The orientation in its EXIF data
    only repeats them, so it is ignored: applying both would turn the picture twice.

    Args:
        data: The bytes of the file.
        header: Its header.
        source: Name of the picture for messages.

    Returns:
        (H, W, 3) uint8 RGB. Channels of more than 8 bits are rounded; transparency is dropped.

    Raises:
        UnreadableImageError: It cannot be decoded, is an HDR picture, or the extra is not installed.
    """
    if header.hdr:
        raise UnreadableImageError(
            f"a photograph in standard colours in {source}", "an HDR picture (PQ or HLG)", "save it as JPEG"
        )
    try:
        decoded = _decode_heic(data, header) if header.format == "HEIC" else _decode_avif(data, header)
    except MissingExtraError as error:
        raise UnreadableImageError(
            f"a library that decodes the {header.format} picture {source}",
            "none",
            f"run: {install_command(EXTRA)}, or save the picture as JPEG",
        ) from error
    except Exception as error:  # the two libraries raise many kinds, for a missing primary picture even IndexError
        raise UnreadableImageError(
            f"a whole photograph in {source}",
            f"a {header.format} picture that cannot be decoded ({error})",
            "copy or download the file again, or save it as JPEG",
        ) from error
    if decoded.ndim == 2 or decoded.shape[2] < 3:  # grey, perhaps with transparency
        decoded = np.repeat(decoded.reshape(*decoded.shape[:2], -1)[..., :1], 3, axis=2)
    return np.ascontiguousarray(decoded[..., :3])


def _decode_heic(data: bytes, header: PhotoHeader) -> Image:
    """Decode with libheif, which turns the picture itself."""
    pillow_heif = require_extra("pillow_heif", EXTRA)
    file = pillow_heif.open_heif(data)  # its `data` is that of the primary picture, at 8 bits
    _check_size(file.size, header)
    return np.asarray(file)


def _decode_avif(data: bytes, header: PhotoHeader) -> Image:
    """Decode with libavif. Pillow expresses the turn of the file as an EXIF orientation, whatever EXIF itself says."""
    require_extra("PIL._avif", EXTRA)
    plugin, operations = require_extra("PIL.AvifImagePlugin", EXTRA), require_extra("PIL.ImageOps", EXTRA)
    with plugin.AvifImageFile(io.BytesIO(data)) as picture:  # not Image.open, which warns of large pictures
        _check_size(picture.size, header)
        return np.asarray(operations.exif_transpose(picture).convert("RGB"))


def _check_size(size: tuple[int, int], header: PhotoHeader) -> None:
    """Check, before any pixel is decoded, that the decoder has read the same size.

    The compressed data can hold a larger picture than both: libheif then refuses it, and libavif decodes up to
    16,384 x 16,384 pixels and scales them down.
    """
    if sorted(size) != sorted((header.width, header.height)):
        raise ValueError(f"{size[0]} x {size[1]} pixels instead of {header.width} x {header.height}")
