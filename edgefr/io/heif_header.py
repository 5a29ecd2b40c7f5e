"""Reads the header of HEIC and AVIF files (HEIF, ISO/IEC 23008-12), which phones take photographs in."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

MAX_BOXES = 1 << 16
"""Most boxes to walk. A grid of 48 megapixels has about 200 tiles, each with a box of a few bytes."""
MAX_TILE = 1 << 26
"""Most pixels of a tile, a thumbnail or another picture beside the primary one."""

CODECS = {b"hvcC": "HEIC", b"av1C": "AVIF"}
"""Property that configures a decoder -> format."""
HDR_TRANSFERS = {16, 18}
"""Transfer characteristics PQ and HLG (ITU-T H.273, table 3)."""
HEIC_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"}
AVIF_BRANDS = {b"avif", b"avis"}


@dataclass(frozen=True)
class HeifHeader:
    """The primary picture of a file: size in pixels before rotation, bits per channel, and kind of colours."""

    format: str
    width: int
    height: int
    bits: int
    channels: int
    hdr: bool


def identify_heif(data: bytes) -> str | None:
    """The format of a file that begins with these bytes: HEIC, AVIF, or None for another one."""
    if data[4:8] != b"ftyp":
        return None
    end = min(int.from_bytes(data[:4], "big"), len(data))
    brands = {data[8:12], *(data[at : at + 4] for at in range(16, end, 4))}
    if brands & AVIF_BRANDS:
        return "AVIF"
    return "HEIC" if brands & HEIC_BRANDS else None


def read_heif_header(data: bytes) -> HeifHeader:
    """Read the header of a whole file.

    Raises:
        ValueError: What was found instead of a whole picture.
        struct.error, IndexError: The file ends too early.
    """
    top = {kind: (start, end) for kind, start, end in _boxes(data, 0, len(data))}
    if b"meta" not in top:
        raise ValueError(f"a {identify_heif(data)} file without a primary picture")
    start, end = top[b"meta"]
    meta = {kind: body for kind, *body in _boxes(data, start + 4, end)}
    if b"mdat" not in top and b"idat" not in meta:
        raise ValueError("that it ends too early")
    if not {b"pitm", b"iprp"} <= meta.keys():
        raise ValueError(f"a {identify_heif(data)} file without a primary picture")
    properties = {kind: body for kind, *body in _boxes(data, *meta[b"iprp"])}
    entries = list(_boxes(data, *properties[b"ipco"])) if b"ipco" in properties else []
    sizes = [struct.unpack_from(">II", data, at + 4) for kind, at, _ in entries if kind == b"ispe"]
    used = _associated(data, properties[b"ipma"][0], _primary(data, meta[b"pitm"][0])) if b"ipma" in properties else []
    primary = {entries[index - 1][0]: entries[index - 1][1] for index in used if 0 < index <= len(entries)}
    codec = next((name for kind, name in CODECS.items() if any(entry[0] == kind for entry in entries)), None)
    if codec is None or b"ispe" not in primary:
        raise ValueError("a HEIF picture that is neither HEIC nor AVIF" if codec is None else "no size")
    width, height = struct.unpack_from(">II", data, primary[b"ispe"] + 4)
    if any(w * h > MAX_TILE and (w, h) != (width, height) for w, h in sizes):
        raise ValueError(f"tiles of more than {MAX_TILE} pixels")
    if b"clap" in primary:
        width, height = _clean_aperture(data, primary[b"clap"], width, height)
    channels, bits = _channels(data, primary.get(b"pixi"))
    return HeifHeader(codec, width, height, bits, channels, _is_hdr(data, entries))


def _boxes(data: bytes, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Kind, start and end of the body of each box (ISO/IEC 14496-12, section 4.2)."""
    for _ in range(MAX_BOXES):
        if start == end:
            return
        size, kind = struct.unpack_from(">I4s", data, start)
        head = 8
        if size == 1:
            (size,), head = struct.unpack_from(">Q", data, start + 8), 16
        size = size or end - start
        if size < head:
            raise ValueError("a damaged box")
        if start + size > end:
            raise ValueError("that it ends too early")
        yield kind, start + head, start + size
        start += size
    raise ValueError(f"more than {MAX_BOXES} boxes")


def _primary(data: bytes, at: int) -> int:
    """The id of the primary picture."""
    number: int = struct.unpack_from(">I" if data[at] else ">H", data, at + 4)[0]
    return number


def _associated(data: bytes, at: int, item: int) -> list[int]:
    """The numbers of the properties of an item, from 1."""
    version, wide = data[at], data[at + 3] & 1
    (count,) = struct.unpack_from(">I", data, at + 4)
    at += 8
    for _ in range(min(count, MAX_BOXES)):
        (number,) = struct.unpack_from(">I" if version else ">H", data, at)
        at += 4 if version else 2
        listed, at = data[at], at + 1
        values = struct.unpack_from(f">{listed}{'H' if wide else 'B'}", data, at)
        at += listed * (2 if wide else 1)
        if number == item:
            return [value & (0x7FFF if wide else 0x7F) for value in values]
    return []


def _clean_aperture(data: bytes, at: int, width: int, height: int) -> tuple[int, int]:
    """The size that is shown. Encoders pad pictures to multiples of their blocks."""
    across, by, down, per = struct.unpack_from(">IIII", data, at)
    return (min(across // by, width), min(down // per, height)) if by and per else (width, height)


def _channels(data: bytes, at: int | None) -> tuple[int, int]:
    """Number of channels and most bits of one."""
    if at is None:
        return 3, 8
    bits = data[at + 5 : at + 5 + data[at + 4]]
    return len(bits), max(bits, default=8)


def _is_hdr(data: bytes, entries: list[tuple[bytes, int, int]]) -> bool:
    return any(
        kind == b"colr" and data[at : at + 4] == b"nclx" and struct.unpack_from(">H", data, at + 6)[0] in HDR_TRANSFERS
        for kind, at, _ in entries
    )
