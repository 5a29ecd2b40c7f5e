from __future__ import annotations

import struct
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as Pillow

from edgefr.errors import EdgefrError
from edgefr.io.picture_header import PhotoHeader, read_header
from tests.detection.pictures import encoded, gradient

RGB = Pillow.fromarray(gradient(40, 60))
STILLS = {
    "jpeg": (encoded(RGB, "JPEG"), PhotoHeader("JPEG", 60, 40, 8, 3)),
    "progressive": (encoded(RGB, "JPEG", progressive=True), PhotoHeader("JPEG", 60, 40, 8, 3)),
    "grey jpeg": (encoded(RGB.convert("L"), "JPEG"), PhotoHeader("JPEG", 60, 40, 8, 1)),
    "cmyk jpeg": (encoded(RGB.convert("CMYK"), "JPEG"), PhotoHeader("JPEG", 60, 40, 8, 4, cmyk=True)),
    "png": (encoded(RGB, "PNG"), PhotoHeader("PNG", 60, 40, 8, 3)),
    "alpha png": (encoded(RGB.convert("RGBA"), "PNG"), PhotoHeader("PNG", 60, 40, 8, 4)),
    "palette png": (encoded(RGB.convert("P"), "PNG"), PhotoHeader("PNG", 60, 40, 8, 3)),
    "16-bit png": (
        encoded(Pillow.fromarray(np.zeros((40, 60), np.uint16)), "PNG"),
        PhotoHeader("PNG", 60, 40, 16, 1),
    ),
    "gif": (encoded(RGB, "GIF"), PhotoHeader("GIF", 60, 40, 8, 3)),
    "webp": (encoded(RGB, "WEBP"), PhotoHeader("WebP", 60, 40, 8, 3)),
    "lossless webp": (encoded(RGB, "WEBP", lossless=True), PhotoHeader("WebP", 60, 40, 8, 3)),
    "alpha webp": (
        encoded(Pillow.fromarray(np.dstack([gradient(40, 60), gradient(40, 60)[..., :1]])), "WEBP"),
        PhotoHeader("WebP", 60, 40, 8, 4),
    ),
    "bmp": (encoded(RGB, "BMP"), PhotoHeader("BMP", 60, 40, 8, 3)),
    "tiff": (encoded(RGB, "TIFF"), PhotoHeader("TIFF", 60, 40, 8, 3)),
    "cmyk tiff": (encoded(RGB.convert("CMYK"), "TIFF"), PhotoHeader("TIFF", 60, 40, 8, 4, cmyk=True)),
    "grey tiff": (encoded(RGB.convert("L"), "TIFF"), PhotoHeader("TIFF", 60, 40, 8, 1)),
}
FILES = st.sampled_from([data for data, _ in STILLS.values()])


@pytest.mark.parametrize("kind", STILLS)
def test_size_and_kind_are_read(kind: str) -> None:
    data, expected = STILLS[kind]
    assert read_header(data, "x") == expected


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP"])
@pytest.mark.parametrize("lossless", [False, True])
def test_frames_of_an_animation_are_counted(kind: str, lossless: bool) -> None:
    frames = [Pillow.fromarray(np.roll(gradient(40, 60), 9 * n, 1)) for n in range(3)]
    options = {"lossless": lossless} if kind == "WEBP" else {}
    data = encoded(frames[0], kind, save_all=True, append_images=frames[1:], **options)
    header = read_header(data, "x")
    assert (header.width, header.height, header.frames) == (60, 40, 3)


def test_pages_of_a_tiff_are_noticed() -> None:
    assert read_header(encoded(RGB, "TIFF", save_all=True, append_images=[RGB]), "x").frames == 2


def test_a_thumbnail_does_not_hide_that_a_jpeg_ends_too_early() -> None:
    thumbnail = encoded(RGB, "JPEG")
    data = encoded(RGB, "JPEG")
    segment = b"\xff\xe1" + (2 + len(thumbnail)).to_bytes(2, "big") + thumbnail
    whole = data[:2] + segment + data[2:]
    assert read_header(whole, "x") == STILLS["jpeg"][1]
    with pytest.raises(EdgefrError, match="ends too early"):
        read_header(whole[:-40], "x")


def test_what_follows_the_end_of_a_jpeg_is_ignored() -> None:
    assert read_header(STILLS["jpeg"][0] + b"\xff\xda" * 1000, "x") == STILLS["jpeg"][1]


def test_a_jpeg_of_many_scans_is_refused() -> None:
    data = STILLS["jpeg"][0]
    with pytest.raises(EdgefrError, match="scans"):
        read_header(data[:-2] + b"\xff\xda" * 1000 + data[-2:], "x")


def test_a_wrong_checksum_is_refused() -> None:
    data = bytearray(STILLS["png"][0])
    data[data.index(b"IDAT") + 9] ^= 1
    with pytest.raises(EdgefrError, match="checksum"):
        read_header(bytes(data), "x")


def test_a_tiff_of_huge_tiles_is_refused() -> None:
    tags = {256: 60, 257: 40, 322: 100_000, 323: 100_000}  # width, height of the picture, of a tile
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    data = b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4)
    with pytest.raises(EdgefrError, match="tiles"):
        read_header(data, "x")


@pytest.mark.parametrize("kind", [kind for kind in STILLS if "tiff" not in kind])
@settings(deadline=None)
@given(st.data())
def test_every_truncation_is_refused(kind: str, data: st.DataObject) -> None:
    whole = STILLS[kind][0]
    length = data.draw(st.integers(0, len(whole) - 1))
    with pytest.raises(EdgefrError, match=r"^expected .* in x, found .*\. [A-Z].*\.$"):
        read_header(whole[:length], "x")


def read_or_refuse(data: bytes) -> None:
    tracemalloc.start()
    try:
        header = read_header(data, "x")
        assert min(header.width, header.height, header.frames) >= 0
    except EdgefrError as error:
        assert "in x, found " in str(error)  # noqa: PT017 - either outcome is right
    finally:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < 1 << 20


@settings(deadline=None)
@given(
    st.sampled_from([b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"RIFF", b"BM", b"II*\0", b"MM\0*"]),
    st.binary(max_size=300),
)
def test_random_bytes_are_read_or_refused(start: bytes, rest: bytes) -> None:
    read_or_refuse(start + rest)


@settings(deadline=None)
@given(FILES, st.lists(st.tuples(st.integers(0, 1 << 16), st.binary(min_size=1, max_size=8)), max_size=6))
def test_mutated_files_are_read_or_refused(data: bytes, changes: list[tuple[int, bytes]]) -> None:
    mutated = bytearray(data)
    for at, piece in changes:
        at %= min(len(mutated), 400)  # headers are what matters
        mutated[at : at + len(piece)] = piece
    read_or_refuse(bytes(mutated))
