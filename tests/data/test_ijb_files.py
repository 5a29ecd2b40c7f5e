"""IJB's files are read as upstream writes them, and a damaged line is reported with its number."""

from __future__ import annotations

import contextlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgefr.data import ijb_files as ijb
from edgefr.data import text_lines as lines
from edgefr.data.ijb_files import has_search, read_crops, read_search, read_template_pairs
from edgefr.data.text_lines import Block
from edgefr.errors import EdgefrError

POINTS = "46.060 62.026 87.785 60.323 68.851 77.656 52.162 99.875 86.450 98.648"
MEDIA_TEXT = "1.jpg 1 69544\n2.jpg 1 69544\n3.jpg 2 70\n4.jpg 11 71\n5.png 12 72\n"
NAMES = ["1.jpg", "2.jpg", "3.jpg", "4.jpg", "5.png"]
POINTS_TEXT = "".join(f"{name} {POINTS} 0.{9 - row}99\n" for row, name in enumerate(NAMES))
PAIRS_TEXT = "1 11 1\n1 12 0\n2 11 0\n2 12 1\n"
HEADER = "TEMPLATE_ID,SUBJECT_ID,FILENAME,FACE_X\n"
TEXTS = {
    "face_tid_mid.txt": MEDIA_TEXT,
    "name_5pts_score.txt": POINTS_TEXT,
    "template_pair_label.txt": PAIRS_TEXT,
    "1N_gallery_G1.csv": HEADER + "1,100,img/1.jpg,3\n1,100,img/2.jpg,4\n",
    "1N_gallery_G2.csv": HEADER + "2,200,img/3.jpg,\n",
    "1N_probe_mixed.csv": HEADER + "12,200,img/5.png,1\n11,100,img/4.jpg,1\n",
}


def make(folder: Path, subset: str = "ijbb", **changed: str | bytes | None) -> Path:
    """The files in their places; a text given by name replaces one, None leaves it out."""
    (folder / "meta").mkdir(parents=True)
    for name, text in (TEXTS | changed).items():
        if text is not None:
            content = text if isinstance(text, bytes) else text.encode()
            (folder / "meta" / f"{subset}_{name}").write_bytes(content)
    return folder


def read_all(path: Path) -> None:
    crops = read_crops(path)
    read_template_pairs(path, crops)
    read_search(path, crops)


@pytest.mark.parametrize("subset", ["ijbb", "ijbc"])
@pytest.mark.parametrize("ending", ["\n", "\r\n"])
@pytest.mark.parametrize("after", ["", "\n", None])
def test_all_files_are_read(subset: str, ending: str, after: str | None, tmp_path: Path) -> None:
    """`after` None: the last line has no end."""
    texts = {
        name: (text[:-1] if after is None else text + after).replace("\n", ending).encode()
        for name, text in TEXTS.items()
    }
    path = make(tmp_path, subset, **texts)
    crops = read_crops(path)
    assert crops.faces.names == ("1.jpg", "2.jpg", "3.jpg", "4.jpg", "5.png")
    assert crops.template.tolist() == [1, 1, 2, 11, 12]
    assert crops.media.tolist() == [69544, 69544, 70, 71, 72]
    assert np.array_equal(crops.score, np.float32([0.999, 0.899, 0.799, 0.699, 0.599]))
    assert crops.landmarks.dtype == np.float32
    assert np.array_equal(crops.landmarks, np.tile(np.float32(POINTS.split()).reshape(1, 5, 2), (5, 1, 1)))
    pairs = read_template_pairs(path, crops)
    assert pairs.first.tolist() == [1, 1, 2, 2]
    assert pairs.second.tolist() == [11, 12, 11, 12]
    assert pairs.same.tolist() == [True, False, False, True]
    (one, two), probes = read_search(path, crops)
    assert (one.template.tolist(), one.subject.tolist()) == ([1], [100])
    assert (two.template.tolist(), two.subject.tolist()) == ([2], [200])
    assert (probes.template.tolist(), probes.subject.tolist()) == ([11, 12], [100, 200])


def test_galleries_may_be_called_s1_and_s2(tmp_path: Path) -> None:
    galleries = {f"1N_gallery_S{number}.csv": TEXTS[f"1N_gallery_G{number}.csv"] for number in (1, 2)}
    path = make(tmp_path, **{"1N_gallery_G1.csv": None, "1N_gallery_G2.csv": None}, **galleries)
    assert has_search(path)
    assert read_search(path, read_crops(path)).galleries[1].subject.tolist() == [200]


def test_a_folder_without_the_search_protocol_is_recognised(tmp_path: Path) -> None:
    path = make(tmp_path, **{name: None for name in TEXTS if name.endswith("csv")})
    assert not has_search(path)
    with pytest.raises(EdgefrError, match=r"ijbb_1N_gallery_G1\.csv or .*_S1\.csv or ijbc_.*found neither"):
        read_search(path, read_crops(path))


@pytest.mark.parametrize(
    ("name", "old", "new", "complaint"),
    [
        ("face_tid_mid.txt", "3.jpg 2 70", "3.jpg 2", "'name template medium' in line 3 of .*ijbb_face_tid_mid.txt"),
        ("face_tid_mid.txt", "3.jpg 2 70", "3.jpg 2 70 1", "line 3"),
        ("face_tid_mid.txt", "3.jpg 2 70", "3.jpg 2 -70", "line 3"),
        ("face_tid_mid.txt", "3.jpg 2 70", "3.jpg two 70", "line 3"),
        ("face_tid_mid.txt", "3.jpg 2 70", f"3.jpg {'9' * 19} 70", "line 3"),
        ("face_tid_mid.txt", "3.jpg", "7.jpg", "3.jpg as in ijbb_name_5pts_score.txt in line 3"),
        ("face_tid_mid.txt", "5.png 12 72\n", "5.png 12 72\n6.jpg 1 1\n", "no more pictures in line 6"),
        ("face_tid_mid.txt", "5.png 12 72\n", "", "expected the 5 pictures.*found 4"),
        ("name_5pts_score.txt", "2.jpg 46.060", "2.jpg 46.060 1", "line 2"),
        ("name_5pts_score.txt", "2.jpg 46.060", "2.jpg nan", "line 2"),
        ("name_5pts_score.txt", "2.jpg 46.060", "2.jpg 1e400", "line 2"),
        ("name_5pts_score.txt", "2.jpg 46.060", "2.jpg 46.06_0", "line 2"),
        ("name_5pts_score.txt", "2.jpg 46", "../2.jpg 46", "picture in loose_crop in line 2"),
        ("name_5pts_score.txt", "2.jpg 46", "/etc/2.jpg 46", "picture in loose_crop in line 2"),
        ("name_5pts_score.txt", "2.jpg 46", "..\\2.jpg 46", "picture in loose_crop in line 2"),
        ("name_5pts_score.txt", "2.jpg 46", "C:2.jpg 46", "picture in loose_crop in line 2"),
        ("name_5pts_score.txt", "2.jpg 46", "\x1b[31m.jpg 46", "line 2"),
        ("template_pair_label.txt", "1 12 0", "1 12", "'template template label' in line 2 of"),
        ("template_pair_label.txt", "1 12 0", "1 12 2", "line 2"),
        ("template_pair_label.txt", "1 12 0", "1 12 0 0", "line 2"),
        ("template_pair_label.txt", "1 12 0\n2 11 0", "1 12\n2 11 0 0", "line 2"),
        ("template_pair_label.txt", "1 12 0", "1 12 x", "line 2"),
        ("template_pair_label.txt", "1 12 0", "1 -12 0", "line 2"),
        ("template_pair_label.txt", "1 12 0", "1 1.2 0", "line 2"),
        ("template_pair_label.txt", "1 12 0", "1 12 0\x00", "line 2"),
        ("template_pair_label.txt", "1 12 0", f"{2**64 + 1} 12 0", "line 2"),
        ("template_pair_label.txt", "1 12 0", "1 13 0", r"templates that have pictures in line 2 of .*found '13'"),
        ("template_pair_label.txt", "1 12 0", "\n\n1 13 0", r"templates that have pictures in line 4 of .*found '13'"),
        ("template_pair_label.txt", PAIRS_TEXT, "", "found 0 and 0"),
        ("template_pair_label.txt", PAIRS_TEXT, "1 11 1\n", "found 1 and 0"),
        ("1N_gallery_G1.csv", "1,100,img/2.jpg", "1;100;img/2.jpg", r"'template,subject,\.\.\.' in line 3"),
        ("1N_gallery_G1.csv", "1,100,img/2.jpg", "1,101,img/2.jpg", "found template 1 of two"),
        ("1N_gallery_G1.csv", "1,100,img/2.jpg", "3,101,img/2.jpg", "templates that have pictures in line 3"),
        ("1N_gallery_G1.csv", "\n1,100,img/1.jpg,3\n1,100,img/2.jpg,4", "", "found none"),
        ("1N_gallery_G2.csv", "2,200", "2,100", "in one gallery with one template, found otherwise for"),
        ("1N_gallery_G2.csv", "img/3.jpg,", "img/3.jpg,\n11,100,", "found otherwise for 100"),
        ("1N_probe_mixed.csv", "11,100", "11,300", "found otherwise for 300"),
    ],
)  # fmt: skip
def test_damage_is_reported_with_its_line(name: str, old: str, new: str, complaint: str, tmp_path: Path) -> None:
    assert old in TEXTS[name]
    path = make(tmp_path, **{name: TEXTS[name].replace(old, new)})
    with pytest.raises(EdgefrError, match=complaint) as caught:
        read_all(path)
    assert str(caught.value).isprintable()


def test_lines_are_numbered_across_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "BLOCK", 128)
    good = PAIRS_TEXT * 30
    path = make(tmp_path, **{"template_pair_label.txt": good + "1 11\n" + good})
    crops = read_crops(path)
    with pytest.raises(EdgefrError, match=r"line 121 of"):
        read_template_pairs(path, crops)
    (path / "meta/ijbb_template_pair_label.txt").write_text(good)
    assert read_template_pairs(path, crops).same.sum() == 60
    (path / "meta/ijbb_template_pair_label.txt").write_text(good + " " * 200)
    with pytest.raises(EdgefrError, match=r"a short line in line 121"):
        read_template_pairs(path, crops)


def test_sizes_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make(tmp_path)
    with monkeypatch.context() as limited:
        limited.setattr(ijb, "MAX_PICTURES", 4)
        with pytest.raises(EdgefrError, match="at most 4 pictures"):
            read_crops(path)
    monkeypatch.setattr(ijb, "MAX_FILE_BYTES", 20)
    with pytest.raises(EdgefrError, match=r"at most 0 MiB in .*Get the file again"):
        read_crops(path)


def test_pictures_are_read_lazily_and_named_if_they_are_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make(tmp_path)
    crops = read_crops(path)
    (path / "loose_crop").mkdir()
    picture = np.random.default_rng(0).integers(0, 255, (90, 80, 3)).astype(np.uint8)
    cv2.imwrite(str(path / "loose_crop/5.png"), picture)
    assert np.array_equal(crops.faces.read("5.png"), picture[..., ::-1])
    (path / "loose_crop/1.jpg").write_bytes(b"\xff\xd8\xff\xe0")
    for name, complaint in (("1.jpg", "ends too early"), ("2.jpg", "No such file")):
        with pytest.raises(EdgefrError, match=rf"loose_crop: {name}, found .*{complaint}"):
            crops.faces.read(name)
    monkeypatch.setattr(ijb, "MAX_PICTURE_BYTES", 100)
    with pytest.raises(EdgefrError, match=r"5\.png, found more than 0 MiB"):
        crops.faces.read("5.png")


WORD = st.sampled_from(
    ["0", "1", "7", "12", "0012", "9" * 18, "9" * 19, "", "-1", "1.5", "x", "\x0b", "1_0", "+1", "\xa0"]
)
LINE = st.lists(WORD, min_size=2, max_size=4).map(" ".join)


@settings(max_examples=400, deadline=None)
@given(
    st.lists(st.one_of(LINE, st.sampled_from(["1 2 0", "3  4\t1", " 5 6 1 ", "7 8 0\r"])), min_size=1, max_size=6),
    st.booleans(),
)
def test_the_fast_parser_agrees_with_the_slow_one(texts: list[str], ended: bool) -> None:
    content = ("\n".join(texts) + "\n" * ended).encode("latin-1")
    block = Block(Path("pairs.txt"), _lines(content), 1)
    if not block.lines:
        return
    fast = block.parse_integers(3)
    try:
        slow = block.match_lines(rb"(\d{1,18})\s+(\d{1,18})\s+(\d{1,18})", "three numbers")
    except EdgefrError:
        assert fast is None
    else:
        numbers = [[int(word) for word in words] for words in slow.values()]
        assert fast is None or fast.tolist() == numbers
        if all(line.strip() for line in block.lines) and b"\x0b" not in content:
            assert fast is not None


def _lines(content: bytes) -> list[bytes]:
    """As a file gives them: ended by a line feed and nothing else."""
    parts = content.split(b"\n")
    return [part + b"\n" for part in parts[:-1]] + ([parts[-1]] if parts[-1] else [])


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    st.sampled_from(sorted(TEXTS)),
    st.lists(st.tuples(st.floats(0, 1), st.binary(max_size=3)), min_size=1, max_size=5),
    st.floats(0, 1),
)
def test_any_change_of_bytes_gives_a_protocol_or_a_sentence(
    tmp_path_factory: pytest.TempPathFactory, name: str, changes: list[tuple[float, bytes]], part: float
) -> None:
    content = bytearray(TEXTS[name].encode())
    for where, new in changes:
        at = int(where * len(content))
        content[at : at + 1] = new
    whole = bytes(content[: int(part * len(content))] if part < 0.2 else content)
    path = make(tmp_path_factory.mktemp("ijb") / "IJBB", **{name: whole})
    with contextlib.suppress(EdgefrError):
        crops = read_crops(path)
        assert np.isfinite(crops.landmarks).all()
        pairs = read_template_pairs(path, crops)
        assert np.isin([pairs.first, pairs.second], crops.template).all()
        search = read_search(path, crops)
        assert np.isin(search.probes.template, crops.template).all()


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.sampled_from(sorted(TEXTS)), st.binary(max_size=200))
def test_any_bytes_give_a_protocol_or_a_sentence(
    tmp_path_factory: pytest.TempPathFactory, name: str, content: bytes
) -> None:
    with contextlib.suppress(EdgefrError):
        read_all(make(tmp_path_factory.mktemp("ijb") / "IJBB", **{name: content}))
