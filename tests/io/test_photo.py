from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image as Pillow

from edgefr.errors import EdgefrError
from edgefr.io.jpeg import decode_picture
from edgefr.io.photo import MAX_BYTES, read_photograph
from tests.detection.pictures import encoded, gradient, png_claiming

UPRIGHT = gradient(48, 64)
RGB = Pillow.fromarray(UPRIGHT)
STORED = {  # how a camera stores the upright picture under each EXIF orientation
    1: None,
    2: Pillow.Transpose.FLIP_LEFT_RIGHT,
    3: Pillow.Transpose.ROTATE_180,
    4: Pillow.Transpose.FLIP_TOP_BOTTOM,
    5: Pillow.Transpose.TRANSPOSE,
    6: Pillow.Transpose.ROTATE_90,
    7: Pillow.Transpose.TRANSVERSE,
    8: Pillow.Transpose.ROTATE_270,
}


def load(folder: Path, data: bytes) -> np.ndarray:
    path = folder / "photo"
    path.write_bytes(data)
    return read_photograph(path)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", STORED)
def test_every_exif_orientation_gives_the_upright_picture(tmp_path: Path, kind: str, orientation: int) -> None:
    stored = RGB if orientation == 1 else RGB.transpose(STORED[orientation])
    exif = Pillow.Exif()
    exif[0x0112] = orientation
    found = load(tmp_path, encoded(stored, kind, exif=exif, quality=95))
    assert found.shape == UPRIGHT.shape
    assert np.abs(found.astype(int) - UPRIGHT).max() < 16


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF"])
def test_lossless_pictures_come_as_contiguous_rgb(tmp_path: Path, kind: str) -> None:
    found = load(tmp_path, encoded(RGB, kind))
    assert found.dtype == np.uint8
    assert found.flags["C_CONTIGUOUS"]
    assert np.array_equal(found, UPRIGHT)


@pytest.mark.parametrize(("kind", "mode"), [("JPEG", "L"), ("PNG", "L"), ("PNG", "LA"), ("PNG", "1")])
def test_grey_becomes_rgb(tmp_path: Path, kind: str, mode: str) -> None:
    grey = RGB.convert("L").convert(mode)
    found = load(tmp_path, encoded(grey, kind))
    assert found.shape == UPRIGHT.shape
    assert np.abs(found.astype(int) - np.asarray(grey.convert("L"), int)[..., None]).max() < 8


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("PNG", {}),
        ("WEBP", {"lossless": True, "exact": True}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("TIFF", {"big_endian": True}),
    ],
)
@pytest.mark.parametrize("alpha", [0, 128])
def test_transparency_is_dropped(tmp_path: Path, kind: str, options: dict[str, Any], alpha: int) -> None:
    """Pillow writes unassociated alpha, by which libtiff would multiply the colours."""
    transparent = np.full((48, 64, 1), alpha, np.uint8)
    rgba = Pillow.fromarray(np.concatenate([UPRIGHT, transparent], 2))
    assert np.array_equal(load(tmp_path, encoded(rgba, kind, **options)), UPRIGHT)
    assert np.array_equal(decode_picture(encoded(rgba, kind, **options), "photo"), UPRIGHT)


def test_every_additional_channel_of_a_tiff_is_dropped(tmp_path: Path) -> None:
    """Three of them are listed outside the directory; OpenCV may refuse such a picture, but gives no wrong colours."""
    channels = np.concatenate([UPRIGHT, np.full((48, 64, 3), 9, np.uint8)], 2)
    for declared in (0, 1, 2):
        try:
            found = load(tmp_path, tiff(channels, [declared] * 3))
        except EdgefrError:
            continue
        assert np.array_equal(found, UPRIGHT)


def tiff(channels: np.ndarray, extra: list[int]) -> bytes:
    """A little-endian TIFF without compression whose channels beyond RGB are declared as `extra`."""
    height, width, count = channels.shape
    bits, meaning, start = 8, 8 + 2 * count, 8 + 2 * count + 2 * len(extra)
    directory = start + channels.size
    tags = [
        (256, 3, 1, width),
        (257, 3, 1, height),
        (258, 3, count, bits),
        (259, 3, 1, 1),
        (262, 3, 1, 2),
        (273, 4, 1, start),
        (277, 3, 1, count),
        (278, 3, 1, height),
        (279, 4, 1, channels.size),
        (338, 3, len(extra), meaning),
    ]
    return b"".join(
        [
            struct.pack("<2sHI", b"II", 42, directory),
            struct.pack(f"<{count}H", *[8] * count),
            struct.pack(f"<{len(extra)}H", *extra),
            channels.tobytes(),
            struct.pack("<H", len(tags)),
            *(struct.pack("<HHII", *tag) for tag in tags),
            bytes(4),
        ]
    )


def test_a_palette_becomes_rgb(tmp_path: Path) -> None:
    colours = RGB.convert("P", palette=Pillow.Palette.ADAPTIVE)
    for kind in ("PNG", "GIF"):
        assert np.array_equal(load(tmp_path, encoded(colours, kind)), np.asarray(colours.convert("RGB")))


JPEG, PNG, WEBP = (encoded(RGB, kind) for kind in ("JPEG", "PNG", "WEBP"))
FRAMES = {
    "save_all": True,
    "append_images": [RGB.transpose(Pillow.Transpose.ROTATE_180)],
}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "empty file"),
        (b"a note, not a photograph", "no picture"),
        (b"\0\0\0\x18ftypheic" + bytes(100), "HEIC"),
        (JPEG[:-2], "ends too early"),
        (JPEG[: len(JPEG) // 2], "ends too early"),
        (PNG[:-12], "ends too early"),
        (WEBP[:-10], "ends too early"),
        (encoded(RGB, "TIFF", compression="tiff_lzw")[:-3000], "cannot be decoded|ends too early"),
        (png_claiming(64, 64), "cannot be decoded"),
        (encoded(Pillow.fromarray(np.zeros((64, 64), np.uint16)), "PNG"), "8 bits per channel .* found 16"),
        (encoded(RGB.convert("CMYK"), "JPEG"), "CMYK"),
        (encoded(RGB.convert("CMYK"), "TIFF"), "CMYK"),
        (encoded(RGB, "GIF", **FRAMES), "one still picture .* found 2"),
        (encoded(RGB, "PNG", **FRAMES), "one still picture .* found 2"),
        (encoded(RGB, "WEBP", **FRAMES), "one still picture .* found 2"),
        (encoded(Pillow.new("RGB", (1, 1)), "PNG"), "at least 16 pixels .* found 1 x 1"),
        (encoded(Pillow.new("RGB", (15, 400)), "JPEG"), "at least 16 pixels"),
        (png_claiming(20_000, 10_000), "100 megapixels .* found 20000 x 10000"),
        (png_claiming(60_000, 100), "32766 pixels a side .* found 60000 x 100"),
    ],
)
def test_what_is_no_usable_photograph_is_refused_in_one_sentence(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], data: bytes, message: str
) -> None:
    with pytest.raises(EdgefrError, match=message) as refusal:
        load(tmp_path, data)
    text = str(refusal.value)
    assert text.startswith("expected ")
    assert str(tmp_path) in text
    assert "\n" not in text
    if data != png_claiming(64, 64):  # damage that only libpng's own decoder meets
        assert capfd.readouterr().err == ""


def test_a_picture_of_exactly_sixteen_pixels_is_taken(tmp_path: Path) -> None:
    assert load(tmp_path, encoded(Pillow.new("RGB", (16, 16)), "PNG")).shape == (16, 16, 3)


def test_missing_files_directories_and_bad_names_are_refused(tmp_path: Path) -> None:
    for path, message in (
        (tmp_path / "none.jpg", "no such file"),
        (tmp_path, "a directory"),
        (tmp_path / ("x" * 300), "cannot be read"),
        (Path("a\0b"), "cannot be read"),
    ):
        with pytest.raises(EdgefrError, match=message):
            read_photograph(path)


@contextmanager
def as_a_user_without_rights() -> Iterator[None]:
    """Root may read everything; on its machines the check runs as nobody."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


@pytest.mark.skipif(not hasattr(os, "seteuid"), reason="permissions of POSIX systems")
def test_a_file_without_read_permission_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "photo.png"
    path.write_bytes(PNG)
    path.chmod(0)
    with as_a_user_without_rights(), pytest.raises(EdgefrError, match="not permitted"):
        read_photograph(path)


def test_a_file_beyond_the_size_bound_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "huge.jpg"
    with path.open("wb") as stream:
        stream.write(JPEG)
        stream.truncate(MAX_BYTES + 1)  # sparse: takes no room
    with pytest.raises(EdgefrError, match="more than 256 MiB"):
        read_photograph(path)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    st.sampled_from([encoded(RGB, kind) for kind in ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF")]),
    st.lists(st.tuples(st.integers(0, 1 << 16), st.integers(0, 255)), min_size=1, max_size=4),
)
def test_damaged_files_give_a_picture_or_an_error_of_ours(
    tmp_path: Path, data: bytes, changes: list[tuple[int, int]]
) -> None:
    damaged = bytearray(data)
    for at, value in changes:
        damaged[at % len(damaged)] = value
    try:
        found = load(tmp_path, bytes(damaged))
    except EdgefrError:
        return
    assert found.ndim == 3
    assert found.shape[2] == 3
