"""`.rec` files read as MXNet writes them; whatever is wrong with one is said with the number of the record."""

from __future__ import annotations

import pickle
import re
import struct
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgefr.data.collections import FaceFolder, open_faces
from edgefr.data.recordio import BLOCK, RecordPictures
from edgefr.errors import EdgefrError

MAGIC = struct.pack("<I", 0xCED7230A)
LENGTH = (1 << 29) - 1


def record(payload: bytes) -> bytes:
    """As dmlc-core writes it: cut where the magic number stands at a multiple of four."""
    cuts = [at for at in range(0, len(payload) - 3, 4) if payload[at : at + 4] == MAGIC]
    starts, ends = [0, *(cut + 4 for cut in cuts)], [*cuts, len(payload)]
    kinds = [1, *[2] * (len(cuts) - 1), 3] if cuts else [0]
    data = b""
    for kind, start, end in zip(kinds, starts, ends, strict=True):
        data += MAGIC + struct.pack("<I", kind << 29 | end - start) + payload[start:end] + bytes(-(end - start) % 4)
    return data


def image(label: float | list[float], picture: bytes, number: int = 0) -> bytes:
    """The payload of an image record: MXNet's `pack(IRHeader(flag, label, number, 0), picture)`."""
    labels = label if isinstance(label, list) else []
    single = 0.0 if isinstance(label, list) else label
    header = struct.pack("<IfQQ", len(labels), single, number, 0)
    return header + struct.pack(f"<{len(labels)}f", *labels) + picture


def write_records(path: Path, payloads: dict[int, bytes]) -> Path:
    """`path` and its index."""
    offset, places = 0, []
    with path.open("wb") as file:
        for key, payload in payloads.items():
            places.append(f"{key}\t{offset}\n")
            offset += file.write(record(payload))
    path.with_suffix(".idx").write_text("".join(places))
    return path


def everything(path: Path) -> dict[str, bytes]:
    pictures = RecordPictures(path)
    return {name: pictures.read(name) for name in pictures.names}


def test_pictures_come_by_label_and_key_in_the_order_of_keys(tmp_path: Path) -> None:
    path = write_records(tmp_path / "train.rec", {10: image(1, b"ten"), 9: image(0, b"nine!"), 2: image(1, b"")})
    assert everything(path) == {"1/2.jpg": b"", "0/9.jpg": b"nine!", "1/10.jpg": b"ten"}
    assert open_faces(path).people() == ["1", "0", "1"]


def test_record_0_with_labels_ends_the_pictures(tmp_path: Path) -> None:
    """insightface's sets: record 0 says (4, 6), pictures are 1 to 3, then 4 and 5 tell each person's pictures."""
    people = {4: image([1.0, 3.0], b""), 5: image([3.0, 4.0], b"")}
    pictures = {1: image(0, b"a"), 2: image([0.0, 7.0], b"b"), 3: image(1, b"c")}
    path = write_records(tmp_path / "train.rec", {0: image([4.0, 6.0], b""), **pictures, **people})
    assert everything(path) == {"0/1.jpg": b"a", "0/2.jpg": b"b", "1/3.jpg": b"c"}


def test_record_0_without_labels_is_a_picture(tmp_path: Path) -> None:
    assert everything(write_records(tmp_path / "train.rec", {0: image(5, b"a")})) == {"5/0.jpg": b"a"}


words = st.lists(st.one_of(st.just(MAGIC), st.binary(min_size=4, max_size=4)), max_size=12)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(words, st.binary(max_size=3)), min_size=1, max_size=4), st.sampled_from([1, 0xCED7230A]))
def test_magic_numbers_inside_are_put_back(parts: list[tuple[list[bytes], bytes]], number: int) -> None:
    """Wherever they stand: between, at both ends, in a row, and in the image header itself (id)."""
    contents = [b"".join(row) + rest for row, rest in parts]
    with tempfile.TemporaryDirectory() as folder:
        payloads = {key: image(key % 2 or [float(key), 9], content, number) for key, content in enumerate(contents, 1)}
        path = write_records(Path(folder) / "train.rec", payloads)
        expected = {f"{key % 2 or key}/{key}.jpg": content for key, content in enumerate(contents, 1)}
        assert everything(path) == expected


def test_more_records_than_are_listed_at_a_time(tmp_path: Path) -> None:
    count = BLOCK + 5
    path = write_records(tmp_path / "train.rec", {key: image(key // 3, b"%d" % key) for key in range(count)})
    pictures = RecordPictures(path)
    assert list(pictures.names) == [f"{key // 3}/{key}.jpg" for key in range(count)]
    assert len(pictures.names) == count
    assert pictures.names[-1] == f"{(count - 1) // 3}/{count - 1}.jpg"
    assert list(pictures.names[3:5]) == ["1/3.jpg", "1/4.jpg"]
    assert pictures.read(pictures.names[BLOCK + 2]) == b"%d" % (BLOCK + 2)


def test_the_names_of_millions_fit_into_the_memory(tmp_path: Path) -> None:
    """What is kept of a record is three numbers, also on the way to a spawned worker."""
    path = write_records(tmp_path / "train.rec", {key: image(key, b"x") for key in range(1000)})
    assert len(pickle.dumps(RecordPictures(path))) < 1000 * 3 * 8 + 2000


@pytest.mark.parametrize("name", ["0/2.jpg", "1/1.jpg", "0/1.png", "nobody", "0/99999999999999999999.jpg"])
def test_a_name_that_is_none_of_its_own_is_refused(tmp_path: Path, name: str) -> None:
    folder = open_faces(write_records(tmp_path / "train.rec", {1: image(0, b"a")}))
    with pytest.raises(EdgefrError, match=f"{re.escape(name)}, found no picture of that name"):
        folder.read(name)


@pytest.mark.parametrize(
    ("at", "content", "found"),
    [
        (0, b"x", "no magic number in record 7"),
        (4, struct.pack("<I", 2 << 29 | 25), "the middle of another record in record 7"),
        (4, struct.pack("<I", 26 << 20), "an end beyond that of the file in record 7"),
        (4, struct.pack("<I", 33 << 20), "more than 32 MiB in record 7"),
        (4, struct.pack("<I", 23), "an image header that is cut short in record 7"),
        (8, struct.pack("<I", 1000), "an image header that is cut short in record 7"),
        (8, struct.pack("<I", 0xFFFFFFFF), "an image header that is cut short in record 7"),
        (12, struct.pack("<f", float("nan")), "a label that is not a whole number from 0 on in record 7"),
        (12, struct.pack("<f", float("inf")), "a label that is not a whole number from 0 on in record 7"),
        (12, struct.pack("<f", -1), "a label that is not a whole number from 0 on in record 7"),
        (12, struct.pack("<f", 1.5), "a label that is not a whole number from 0 on in record 7"),
    ],
)
def test_a_damaged_record_is_named_when_the_set_is_opened(tmp_path: Path, at: int, content: bytes, found: str) -> None:
    path = write_records(tmp_path / "train.rec", {5: image(1, b"fine"), 7: image(1, b"x")})
    data = bytearray(path.read_bytes())
    start = 8 + 28 + at
    data[start : start + len(content)] = content
    path.write_bytes(data)
    with pytest.raises(EdgefrError, match=found):
        open_faces(path)


@pytest.mark.parametrize("second", [0 << 29 | 4, 1 << 29 | 4, 3 << 29 | 999, 2 << 29 | LENGTH])
def test_a_record_whose_parts_do_not_fit_together_is_named_when_it_is_read(tmp_path: Path, second: int) -> None:
    path = write_records(tmp_path / "train.rec", {5: image(1, b"1234" + MAGIC + b"5678")})
    data = path.read_bytes()
    assert struct.unpack_from("<I", data, 8 + 28 + 4) == (3 << 29 | 4,)
    path.write_bytes(data[:40] + struct.pack("<I", second) + data[44:])
    folder = open_faces(path)
    with pytest.raises(EdgefrError, match=r"1/5\.jpg, found .* in record 5"):
        folder.read("1/5.jpg")


def test_a_record_of_parts_without_end_is_refused(tmp_path: Path) -> None:
    path = write_records(tmp_path / "train.rec", {5: image(1, b"1234" + MAGIC * 2000)})
    with pytest.raises(EdgefrError, match="1024 parts in record 5"):
        open_faces(path).read("1/5.jpg")


def test_a_set_of_more_than_two_gigabytes_is_read_where_its_index_points(tmp_path: Path) -> None:
    path = tmp_path / "train.rec"
    with path.open("wb") as file:
        file.seek(5 << 30)
        file.write(record(image(3, b"far")))
    path.with_suffix(".idx").write_text(f"1\t{5 << 30}\n")
    assert everything(path) == {"3/1.jpg": b"far"}


@pytest.mark.parametrize(
    ("lines", "found"),
    [
        ("", "no line"),
        ("1\t0\n2 0\n", "'2 0.n' in line 2"),
        ("1\t0\n\n", "in line 2"),
        ("1\t-4\n", "in line 1"),
        ("1\t0\n1\t36\n", "record 1 in several lines"),
        ("1\t0\n2\t65\n", "an offset beyond the end of the file in record 2"),
        ("1\t0\n2\t999999999999999999\n", "an offset beyond the end of the file in record 2"),
        ("1\t9999999999999999999999\n", "in line 1"),
        ("1\t2\n", "no magic number in record 1"),
        ("0\t36\n1\t0\n", "an end of the pictures at 0 in record 0"),
    ],
)
def test_a_wrong_index_is_refused_and_the_line_or_record_named(tmp_path: Path, lines: str, found: str) -> None:
    path = write_records(tmp_path / "train.rec", {1: image(0, b"abc"), 2: image([0.0], b"")})
    path.with_suffix(".idx").write_text(lines)
    with pytest.raises(EdgefrError, match=found):
        open_faces(path)


def test_a_set_without_its_index_or_without_pictures_is_refused(tmp_path: Path) -> None:
    path = write_records(tmp_path / "train.rec", {0: image([1.0, 1.0], b"")})
    with pytest.raises(EdgefrError, match="expected pictures"):
        open_faces(path)
    path.with_suffix(".idx").unlink()
    with pytest.raises(EdgefrError, match=r"train\.idx.*No such file"):
        open_faces(path)


@settings(max_examples=150, deadline=None)
@given(
    st.booleans(),
    st.lists(st.tuples(st.integers(0, 400), st.sampled_from([0, 1, 2, 9, 32, 48, 57, 127, 128, 255])), max_size=6),
    st.integers(0, 400),
)
def test_no_damage_does_more_than_raise_an_error_that_says_where(
    in_index: bool, changes: list[tuple[int, int]], cut: int
) -> None:
    payloads = {0: image([5.0, 6.0], b""), 1: image(0, MAGIC * 2), 2: image([1.0, 2.0], b"abc"), 4: image(2, b"d" * 50)}
    with tempfile.TemporaryDirectory() as folder:
        path = write_records(Path(folder) / "train.rec", payloads)
        target = path.with_suffix(".idx") if in_index else path
        data = bytearray(target.read_bytes())
        for at, value in changes:
            data[at % len(data)] = value
        target.write_bytes(data[: len(data) - cut] if cut < len(data) else data)
        folder_or_error = opened(path)
        if isinstance(folder_or_error, str):
            assert re.search(r"(record|line) \d+|no line|expected pictures", folder_or_error)
            return
        for name in folder_or_error.names:
            with pytest.raises(EdgefrError, match=re.escape(name)):  # none of these payloads is a picture
                folder_or_error.read(name)


def opened(path: Path) -> FaceFolder | str:
    try:
        return open_faces(path)
    except EdgefrError as error:
        return str(error)
