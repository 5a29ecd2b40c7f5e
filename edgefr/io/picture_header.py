"""Reads the header of a picture file before any pixel is decoded.

A few hundred bytes can claim a picture of gigabytes. Sizes are therefore checked here, in Python, before a decoder
written in C allocates memory for them. The readers also notice files that end too early, because some decoders fill
the missing part with grey instead of refusing the file.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

from edgefr.errors import UnreadableImageError
from edgefr.io.heif_header import identify_heif, read_heif_header

MAX_BLOCKS = 1 << 20
"""Most blocks, chunks or segments of a file: more than 100 megapixels need, few enough to walk."""

MAX_SCANS = 100
"""Most scans of a JPEG. Each can touch every pixel, so thousands of them in a small file would keep a decoder busy for
hours. Encoders write about ten."""

MAX_TILE = 1 << 26
"""Most pixels in a tile of a TIFF, which a decoder holds as a whole."""


@dataclass(frozen=True)
class PhotoHeader:
    """Size and kind of a picture as its file states them, before any EXIF rotation.

    `bits` are per channel; a palette counts as three channels of 8 bits. `frames` is 1 for a still picture; pages of
    a TIFF are counted up to two. A HEIC or AVIF file has one primary picture, and what else it holds is not counted.
    """

    format: str
    width: int
    height: int
    bits: int
    channels: int
    frames: int = 1
    cmyk: bool = False
    hdr: bool = False


SIGNATURES = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"GIF8", "GIF"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"II+\0", "BigTIFF"),
    (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000"),
    (b"\xff\x4f\xff\x51", "JPEG 2000"),
    (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
    (b"\xff\x0a", "JPEG XL"),
    (b"8BPS", "Photoshop"),
    (b"FUJIFILMCCD-RAW", "camera raw"),
    (b"IIU\0", "camera raw"),
    (b"IIR", "camera raw"),
)
"""First bytes of pictures, also of kinds that are not read, and the name of the kind."""
SIGNATURE_BYTES = 64
"""Bytes that `identify_picture` needs."""
BMP_HEADERS = {12, 40, 52, 56, 64, 108, 124}


def identify_picture(start: bytes) -> str | None:
    """Identify a picture by its content.

    Args:
        start: The first `SIGNATURE_BYTES` of a file, or all of it.

    Returns:
        The kind of picture, or None if it is none.
    """
    if start.startswith(b"RIFF") and start[8:12] == b"WEBP":
        return "WebP"
    if start.startswith(b"BM") and int.from_bytes(start[14:18], "little") in BMP_HEADERS:
        return "BMP"
    return next((kind for signature, kind in SIGNATURES if start.startswith(signature)), identify_heif(start))


def read_header(data: bytes, source: str) -> PhotoHeader:
    """Read the header of a JPEG, PNG, GIF, WebP, BMP, TIFF, HEIC or AVIF file.

    Args:
        data: The bytes of the whole file.
        source: Name of the picture for messages.

    Returns:
        Size and kind of the picture.

    Raises:
        UnreadableImageError: The file is of another kind, damaged, or ends too early.
    """
    readers = {
        "JPEG": _jpeg,
        "PNG": _png,
        "GIF": _gif,
        "WebP": _webp,
        "BMP": _bmp,
        "TIFF": _tiff,
        "HEIC": _heif,
        "AVIF": _heif,
    }
    kind = identify_picture(data[:SIGNATURE_BYTES])
    if kind not in readers:
        raise UnreadableImageError(
            f"a JPEG, PNG, WebP, GIF, BMP, TIFF, HEIC or AVIF photograph in {source}",
            "no picture of these kinds" if kind is None else f"a {kind} picture",
            "give a photograph, or save it as JPEG first",
        )
    try:
        return readers[kind](data)
    except (struct.error, IndexError):
        found = "that it ends too early"
    except ValueError as error:
        found = str(error)
    raise UnreadableImageError(f"a whole photograph in {source}", found, "copy or download the file again")


def _heif(data: bytes) -> PhotoHeader:
    header = read_heif_header(data)
    return PhotoHeader(header.format, header.width, header.height, header.bits, header.channels, hdr=header.hdr)


def _jpeg(data: bytes) -> PhotoHeader:
    """Walk the segments up to the first scan (ITU-T T.81, annex B)."""
    at, header = 2, None
    for _ in range(MAX_BLOCKS):
        mark, kind = data[at], data[at + 1]
        if mark != 0xFF or kind == 0xD9:
            raise ValueError("no picture where one should begin")
        if kind == 0xFF:  # a fill byte
            at += 1
            continue
        if 0xC0 <= kind <= 0xCF and kind not in (0xC4, 0xC8, 0xCC) and header is None:
            bits, height, width, channels = struct.unpack_from(">BHHB", data, at + 4)
            header = PhotoHeader("JPEG", width, height, bits, channels, cmyk=channels == 4)
        (length,) = struct.unpack_from(">H", data, at + 2)
        at += 2 + length
        if kind == 0xDA:
            break
    if header is None:
        raise ValueError("no size before its first scan")
    end = data.find(b"\xff\xd9", at)  # a thumbnail's own end lies before the first scan
    if end < 0:
        raise ValueError("that it ends too early")
    if data.count(b"\xff\xda", at, end) >= MAX_SCANS:
        raise ValueError(f"more than {MAX_SCANS} scans")
    return header


def _png(data: bytes) -> PhotoHeader:
    """Walk all chunks (PNG specification, section 5; APNG: acTL).

    Checksums of critical chunks are compared here because libpng reports a wrong one on stderr.
    """
    width, height, depth, colour = struct.unpack_from(">IIBB", data, 16)
    if data[12:16] != b"IHDR" or colour not in (0, 2, 3, 4, 6):
        raise ValueError("no PNG header chunk")
    at, frames, view = 8, 1, memoryview(data)
    for _ in range(MAX_BLOCKS):
        length, kind = struct.unpack_from(">I4s", data, at)
        (checksum,) = struct.unpack_from(">I", data, at + 8 + length)
        critical = not kind[0] & 0x20  # an upper-case first letter
        if critical and zlib.crc32(view[at + 4 : at + 8 + length]) != checksum:
            raise ValueError("a chunk with a wrong checksum")
        if kind == b"acTL":
            (frames,) = struct.unpack_from(">I", data, at + 8)
        if kind == b"IEND":
            bits = 8 if colour == 3 else depth
            return PhotoHeader("PNG", width, height, bits, {0: 1, 4: 2, 6: 4}.get(colour, 3), frames)
        at += 12 + length
    raise ValueError(f"more than {MAX_BLOCKS} chunks")


def _gif(data: bytes) -> PhotoHeader:
    """Walk all blocks and count the pictures among them (GIF89a specification)."""
    width, height, flags = struct.unpack_from("<HHB", data, 6)
    at, frames, in_data = 13 + _gif_palette(flags), 0, False
    for _ in range(MAX_BLOCKS):
        kind = data[at]
        if in_data:  # sub-blocks, each led by its length; a length of zero ends them
            in_data = kind > 0
            at += 1 + kind
        elif kind == 0x21:  # extension
            at, in_data = at + 2, True
        elif kind == 0x2C:  # picture
            at, in_data, frames = at + 11 + _gif_palette(data[at + 9]), True, frames + 1
        elif kind == 0x3B:  # end
            return PhotoHeader("GIF", width, height, 8, 3, frames)
        else:
            raise ValueError("an unknown block")
    raise ValueError(f"more than {MAX_BLOCKS} blocks")


def _gif_palette(flags: int) -> int:
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0


def _webp(data: bytes) -> PhotoHeader:
    """Read the first chunk, VP8, VP8L or VP8X (RFC 9649); count the frames of an animation."""
    (size,), kind = struct.unpack_from("<I", data, 4), data[12:16]
    if size + 8 > len(data):
        raise ValueError("that it ends too early")
    if kind == b"VP8 ":
        width, height = (side & 0x3FFF for side in struct.unpack_from("<HH", data, 26))
        return PhotoHeader("WebP", width, height, 8, 3)
    if kind == b"VP8L":
        (packed,) = struct.unpack_from("<I", data, 21)
        width, height = (packed & 0x3FFF) + 1, (packed >> 14 & 0x3FFF) + 1
        return PhotoHeader("WebP", width, height, 8, 4 if packed >> 28 & 1 else 3)
    if kind != b"VP8X":
        raise ValueError("no WebP header chunk")
    flags, packed = data[20], int.from_bytes(data[24:30].ljust(6, b"\0"), "little")
    width, height = (packed & 0xFFFFFF) + 1, (packed >> 24) + 1
    frames = _webp_frames(data, size + 8) if flags & 0x02 else 1
    return PhotoHeader("WebP", width, height, 8, 4 if flags & 0x10 else 3, frames)


def _webp_frames(data: bytes, end: int) -> int:
    at, frames = 12, 0
    for _ in range(MAX_BLOCKS):
        if at + 8 > end:
            return frames
        kind, length = struct.unpack_from("<4sI", data, at)
        frames += kind == b"ANMF"
        at += 8 + length + length % 2
    raise ValueError(f"more than {MAX_BLOCKS} chunks")


def _bmp(data: bytes) -> PhotoHeader:
    """Read the OS/2 or Windows header; uncompressed pixels must all be there."""
    start, size = struct.unpack_from("<II", data, 10)
    compression = 0
    if size == 12:
        width, height, _, depth = struct.unpack_from("<HHHH", data, 18)
    else:
        width, height, _, depth, compression = struct.unpack_from("<iiHHI", data, 18)
    height = abs(height)  # negative: stored from top to bottom
    row = (width * depth + 31) // 32 * 4
    if width < 0 or (compression in (0, 3) and start + row * height > len(data)):
        raise ValueError("that it ends too early")
    return PhotoHeader("BMP", width, height, 16 if depth > 32 else 8, 4 if depth == 32 else 3)


def _tiff(data: bytes) -> PhotoHeader:
    """Read the first directory (TIFF 6.0, section 2)."""
    order = "<" if data[:2] == b"II" else ">"
    (at,) = struct.unpack_from(order + "I", data, 4)
    (count,) = struct.unpack_from(order + "H", data, at)
    tags = {}
    for entry in range(at + 2, at + 2 + 12 * count, 12):
        tag, kind, values = struct.unpack_from(order + "HHI", data, entry)
        where = entry + 8
        if tag == 258 and values > 2:  # bits of three or more channels do not fit into the entry
            (where,) = struct.unpack_from(order + "I", data, where)
        (tags[tag],) = struct.unpack_from(order + ("I" if kind == 4 else "H"), data, where)
    (following,) = struct.unpack_from(order + "I", data, at + 2 + 12 * count)
    if 256 not in tags or 257 not in tags:
        raise ValueError("no size in its first directory")
    if tags.get(322, 0) * tags.get(323, 0) > MAX_TILE:
        raise ValueError(f"tiles of more than {MAX_TILE} pixels")
    return PhotoHeader(
        "TIFF",
        width=tags[256],
        height=tags[257],
        bits=tags.get(258, 1),
        channels=tags.get(277, 1),
        frames=2 if following else 1,
        cmyk=tags.get(262) == 5,
    )
