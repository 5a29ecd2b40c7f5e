"""HEIC and AVIF photographs are read upright, within the bounds of other formats, and without the extra refused."""

from __future__ import annotations

import io
import struct
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as Pillow
from PIL import features

from edgefr.errors import EdgefrError, UnreadableImageError, install_command
from edgefr.io.jpeg import decode_picture
from edgefr.io.photo import decode_photograph
from edgefr.io.picture_header import PhotoHeader, read_header
from tests.detection.pictures import encoded, gradient
from tests.io.test_photo import RGB, STORED, UPRIGHT

pillow_heif = pytest.importorskip("pillow_heif")
pillow_heif.register_heif_opener()  # Pillow can then write HEIF, as these tests do
if not features.check("avif"):
    pytest.skip("this Pillow has no AVIF", allow_module_level=True)

KINDS = {"HEIC": "HEIF", "AVIF": "AVIF"}
"""Our name of a format -> Pillow's."""
FILES = {kind: encoded(RGB, name, quality=95) for kind, name in KINDS.items()}
PLACEHOLDER = 0x0113


def exif_with(**tags: int) -> bytes:
    exif = Pillow.Exif()
    exif[0x0112] = tags["orientation"]
    exif[PLACEHOLDER] = tags["orientation"]  # a tag that the writers copy without a look at it
    return exif.tobytes()


def stored(kind: str, orientation: int) -> bytes:
    """A photograph as a phone stores it: turned, with the turn in `irot` and `imir` and once more in its EXIF data."""
    picture = RGB if orientation == 1 else RGB.transpose(STORED[orientation])
    data = encoded(picture, KINDS[kind], quality=95, exif=exif_with(orientation=orientation))
    assert (b"irot" in data or b"imir" in data) == (orientation > 1)
    tag = struct.pack(">HHI", 0x0113, 3, 1)
    return data.replace(tag, struct.pack(">HHI", 0x0112, 3, 1))  # Pillow removes it from AVIF files


def without_turn(data: bytes) -> bytes:
    assert b"imir" not in data
    at = data.index(b"irot") + 4
    return data[:at] + b"\0" + data[at + 1 :]


def difference(found: np.ndarray, wanted: np.ndarray) -> int:
    assert found.shape == wanted.shape
    assert found.dtype == np.uint8
    assert found.flags["C_CONTIGUOUS"]
    return int(np.abs(found.astype(int) - wanted).max())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("orientation", STORED)
def test_every_orientation_gives_the_upright_picture(kind: str, orientation: int) -> None:
    data = stored(kind, orientation)
    assert struct.pack(">HHIH", 0x0112, 3, 1, orientation) in data
    assert difference(decode_photograph(data, "x"), UPRIGHT) < 16
    assert difference(decode_picture(data, "x", at_least=10), UPRIGHT) < 16


@pytest.mark.parametrize("kind", KINDS)
def test_an_orientation_in_exif_alone_turns_nothing(kind: str) -> None:
    """So HEIF demands: EXIF data may describe the picture before an editor turned it."""
    data = without_turn(stored(kind, 6))
    assert difference(decode_photograph(data, "x"), np.asarray(RGB.transpose(STORED[6]))) < 16


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("mode", ["L", "RGBA"])
def test_grey_and_transparent_pictures_become_rgb(kind: str, mode: str) -> None:
    picture = RGB.convert(mode)
    found = decode_photograph(encoded(picture, KINDS[kind], quality=95), "x")
    assert difference(found, np.asarray(picture.convert("RGB"))) < 16


def test_ten_bits_are_rounded_to_eight() -> None:
    stream = io.BytesIO()
    pixels = np.ascontiguousarray(UPRIGHT.astype("<u2") << 8)
    pillow_heif.from_bytes("RGB;16", (64, 48), pixels.tobytes()).save(stream, quality=95)
    assert read_header(stream.getvalue(), "x").bits == 10
    assert difference(decode_photograph(stream.getvalue(), "x"), UPRIGHT) < 16


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("transfer", [16, 18])
def test_an_hdr_picture_is_refused(kind: str, transfer: int) -> None:
    at = FILES[kind].index(b"nclx") + 6
    data = FILES[kind][:at] + struct.pack(">H", transfer) + FILES[kind][at + 2 :]
    with pytest.raises(EdgefrError, match=r"standard colours in x, found an HDR picture \(PQ or HLG\)\. Save it as J"):
        decode_photograph(data, "x")


def test_a_burst_gives_its_primary_picture() -> None:
    burst, other = io.BytesIO(), RGB.transpose(Pillow.Transpose.ROTATE_180)
    pictures = pillow_heif.from_pillow(other)
    pictures.add_from_pillow(RGB)
    pictures.save(burst, quality=95, primary_index=1)
    assert difference(decode_photograph(burst.getvalue(), "x"), UPRIGHT) < 16
    sequence = encoded(RGB, "AVIF", save_all=True, append_images=[other], quality=95)
    assert difference(decode_photograph(sequence, "x"), UPRIGHT) < 16


def test_a_picture_of_tiles_is_read() -> None:
    large = Pillow.fromarray(gradient(300, 400))
    stream = io.BytesIO()
    pillow_heif.from_pillow(large).save(stream, tile_size=128, quality=95)
    assert read_header(stream.getvalue(), "x") == PhotoHeader("HEIC", 400, 300, 8, 3)
    assert difference(decode_photograph(stream.getvalue(), "x"), np.asarray(large)) < 16


def with_size(data: bytes, width: int, height: int) -> bytes:
    """The file with another size in its headers."""
    at = data.index(b"ispe") + 8
    return (data[:at] + struct.pack(">II", width, height) + data[at + 8 :]).replace(b"clap", b"free")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("size", "message"),
    [
        ((20_000, 10_000), "100 megapixels .* found 20000 x 10000"),
        ((60_000, 100), "32766 pixels a side .* found 60000 x 100"),
        ((15, 400), "at least 16 pixels"),
    ],
)
def test_a_size_out_of_bounds_is_refused(kind: str, size: tuple[int, int], message: str) -> None:
    with pytest.raises(UnreadableImageError, match=message):
        decode_photograph(with_size(FILES[kind], *size), "x")


@pytest.mark.parametrize("size", [(32, 32), (128, 64)])
def test_a_header_that_hides_the_real_size_is_refused(size: tuple[int, int]) -> None:
    """An AVIF picture is scaled to the size of the header instead."""
    with pytest.raises(UnreadableImageError, match="cannot be decoded"):
        decode_photograph(with_size(FILES["HEIC"], *size), "x")
    assert decode_photograph(with_size(FILES["AVIF"], *size), "x").shape == (*size[::-1], 3)


@pytest.mark.parametrize("kind", KINDS)
@settings(deadline=None)
@given(st.data())
def test_every_truncation_is_refused(kind: str, data: st.DataObject) -> None:
    whole = FILES[kind]
    length = data.draw(st.integers(0, len(whole) - 1))
    with pytest.raises(EdgefrError, match=r"^expected .* in x, found .*\. [A-Z].*\.$"):
        read_header(whole[:length], "x")


@settings(deadline=None)
@given(
    st.sampled_from([*FILES.values()]),
    st.lists(st.tuples(st.integers(0, 1 << 16), st.binary(min_size=1, max_size=8)), max_size=6),
)
def test_damaged_files_give_a_picture_or_an_error_of_ours(data: bytes, changes: list[tuple[int, bytes]]) -> None:
    damaged = bytearray(data)
    for at, piece in changes:
        at %= len(damaged)
        damaged[at : at + len(piece)] = piece
    try:
        found = decode_photograph(bytes(damaged), "x")
    except EdgefrError:
        return
    assert found.ndim == 3
    assert found.shape[2] == 3


@pytest.mark.parametrize(("kind", "module"), [("HEIC", "pillow_heif"), ("AVIF", "PIL._avif")])
def test_without_the_extra_its_install_command_is_named(kind: str, module: str, monkeypatch: Any) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UnreadableImageError) as refusal:
        decode_photograph(FILES[kind], "a.heic")
    assert refusal.value.fix == f"run: {install_command('photos')}, or save the picture as JPEG"
    assert f"the {kind} picture a.heic, found none" in str(refusal.value)


def test_the_package_reads_other_formats_without_pillow(tmp_path: Path) -> None:
    import subprocess

    (tmp_path / "a.png").write_bytes(encoded(RGB, "PNG"))
    script = (
        "import sys; sys.modules.update({'PIL': None, 'pillow_heif': None})\n"
        "from pathlib import Path; from edgefr.io.photo import read_photograph\n"
        "print(read_photograph(Path(sys.argv[1])).shape)"
    )
    run = subprocess.run([sys.executable, "-c", script, tmp_path / "a.png"], capture_output=True, text=True, check=True)
    assert run.stdout == "(48, 64, 3)\n"


def test_a_picture_without_its_decoder_settings_is_refused_in_one_sentence() -> None:
    """libheif leaves it out, and pillow-heif 1.8.1 then raises IndexError because there is no picture."""
    data = FILES["HEIC"]
    at = data.index(b"ipma") + 15  # the first property of the picture: its decoder's settings, which are essential
    assert data[at] == 0x81
    with pytest.raises(UnreadableImageError, match=r"HEIC picture that cannot be decoded"):
        decode_photograph(data[:at] + b"\0" + data[at + 1 :], "x")
