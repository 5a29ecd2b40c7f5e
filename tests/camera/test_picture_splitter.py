"""Pictures are found whole in a stream, whatever their segments hold and however the stream is cut."""

from __future__ import annotations

import struct
from itertools import pairwise

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgefr.camera import picture_splitter
from edgefr.camera.picture_splitter import PictureSplitter
from tests.camera.servers import part, picture

NOISE = cv2.imencode(".jpg", np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))[1].tobytes()
PROGRESSIVE = cv2.imencode(
    ".jpg", np.random.default_rng(1).integers(0, 256, (64, 64, 3), np.uint8), [cv2.IMWRITE_JPEG_PROGRESSIVE, 1]
)[1].tobytes()
RESTARTS = cv2.imencode(
    ".jpg", np.random.default_rng(2).integers(0, 256, (64, 64, 3), np.uint8), [cv2.IMWRITE_JPEG_RST_INTERVAL, 1]
)[1].tobytes()


def with_segment(data: bytes, content: bytes, kind: int = 0xE1) -> bytes:
    """A JPEG with another segment, by default APP1, in which cameras put thumbnails."""
    return data[:2] + struct.pack(">BBH", 0xFF, kind, 2 + len(content)) + content + data[2:]


KINDS = {
    "plain": NOISE,
    "progressive": PROGRESSIVE,
    "restart markers": RESTARTS,
    "a thumbnail": with_segment(NOISE, b"Exif\0\0" + picture(9)),
    "two thumbnails": with_segment(with_segment(NOISE, b"JFXX\0" + picture(9), 0xE0), b"MPF\0" + picture(10), 0xE2),
    "an end in a comment": with_segment(NOISE, b"\xff\xd9 is an end, \xff\xd8\xff a start", 0xFE),
    "a comment between scans": PROGRESSIVE[: PROGRESSIVE.rindex(b"\xff\xda")]
    + b"\xff\xfe\0\x06\xff\xd9\xff\xd8"
    + PROGRESSIVE[PROGRESSIVE.rindex(b"\xff\xda") :],
    "fill bytes": NOISE[:2] + b"\xff\xff\xff" + NOISE[2:],
}


def split(stream: bytes, *cuts: int) -> list[bytes]:
    """The pictures of a stream that arrives in pieces, cut at the given places."""
    splitter, places = PictureSplitter(), sorted({0, len(stream), *(cut % (len(stream) + 1) for cut in cuts)})
    return [found for start, end in pairwise(places) for found in splitter.feed(stream[start:end])]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("length", ["correct", "missing", "too small", "too large", "enormous"])
def test_a_picture_ends_where_its_segments_end(kind: str, length: str) -> None:
    data = KINDS[kind]
    claims = {"correct": len(data), "too small": 50, "too large": len(data) + 40, "enormous": 16 << 20}
    parts = [part(data, claims.get(length)), part(picture(5), claims.get(length))] * 3
    stream = b"".join(parts)
    if length == "missing":
        stream = b"".join(b"--b\r\n\r\n" + data + b"\r\n--b\r\n\r\n" + picture(5) + b"\r\n" for _ in range(3))
    found = split(stream)
    assert found == [data, picture(5)] * 3
    assert cv2.imdecode(np.frombuffer(found[0], np.uint8), cv2.IMREAD_COLOR).shape == (64, 64, 3)


def test_a_picture_is_there_as_soon_as_its_last_byte_is() -> None:
    """A camera that waits for movement sends the next boundary much later."""
    head, data = part(NOISE)[: -len(NOISE) - 2], KINDS["a thumbnail"]
    assert split(head.replace(str(len(NOISE)).encode(), str(len(data)).encode()) + data) == [data]


def test_a_preview_after_the_picture_is_not_a_frame() -> None:
    """Phones append previews in a format that is called MPO; the length of the part contains them."""
    data = NOISE + picture(7)
    found = split((part(data) + part(picture(5))) * 2)
    assert [each[: len(NOISE)] for each in found] == [NOISE, picture(5)] * 2


@pytest.mark.parametrize("cut", [30, 300, len(KINDS["a thumbnail"]) - 40])
@pytest.mark.parametrize("honest", [True, False])
def test_a_picture_that_is_cut_off_costs_no_other_one_and_shows_no_thumbnail(cut: int, honest: bool) -> None:
    whole = KINDS["a thumbnail"]
    cut_off = part(whole[:cut], None if honest else len(whole))
    found = split(part(NOISE) + cut_off + part(NOISE) * 3)
    assert picture(9) not in found
    assert [each for each in found if each != whole[:cut]][-3:] == [NOISE] * 3


@given(st.lists(st.integers(0, 1 << 20), max_size=30), st.sampled_from(sorted(KINDS)), st.integers(0, 9000))
def test_pieces_make_no_difference(cuts: list[int], kind: str, length: int) -> None:
    stream = b"HTTP rubbish" + part(KINDS[kind], length) + part(KINDS[kind]) + b"\xff\xd8\xff\xfe\0\0\r\n" + part(NOISE)
    found = split(stream, *cuts)
    assert KINDS[kind] in found
    assert NOISE in found
    assert len(found) <= 3


@given(st.lists(st.one_of(st.binary(), st.sampled_from([b"\xff\xd8\xff", b"\xff\xda\0\2", b"\r\n--", part(NOISE)]))))
def test_any_bytes_are_survived_within_bounds(pieces: list[bytes]) -> None:
    splitter = PictureSplitter()
    for piece in pieces:
        for found in splitter.feed(piece):
            assert found.startswith(b"\xff\xd8\xff")
    assert len(splitter._buffer) <= picture_splitter.MAX_JPEG_BYTES


def test_a_picture_without_end_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(picture_splitter, "MAX_JPEG_BYTES", 100_000)
    splitter = PictureSplitter()
    endless = NOISE[:-2]
    assert list(splitter.feed(endless)) == []
    for _ in range(100):
        assert list(splitter.feed(b"\x55" * 10_000)) == []
        assert len(splitter._buffer) <= 110_000
    assert list(splitter.feed(part(picture(5)))) == [picture(5)]
