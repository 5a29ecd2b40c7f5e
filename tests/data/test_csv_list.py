"""A CSV list names pictures below its own folder, and nothing else."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgefr.data.collections import open_faces
from edgefr.data.csv_list import read_list
from edgefr.errors import EdgefrError
from tests.data.test_collections import png

MARK = "\ufeff"
"""The byte order mark that spreadsheets write first."""


def write(folder: Path, text: str) -> Path:
    path = folder / "faces.csv"
    path.write_bytes(text.encode())
    return path


@pytest.mark.parametrize("header", ["", "path,person\n", "Path, Person\r\n", MARK + "path,person\n", MARK])
def test_pictures_are_named_by_their_person_in_sorted_order(tmp_path: Path, header: str) -> None:
    (tmp_path / "deep/er").mkdir(parents=True)
    (tmp_path / "Ann").mkdir()
    (tmp_path / "deep/er/2.png").write_bytes(png((2, 0, 0)))
    (tmp_path / "deep/1.png").write_bytes(png((1, 0, 0)))
    (tmp_path / "Ann/3, the third.png").write_bytes(png((3, 0, 0)))
    lines = 'deep/er/2.png,Bea\n"Ann/3, the third.png",Ann\n\n./deep/1.png,Zoë\n'
    folder = open_faces(write(tmp_path, header + lines))
    assert folder.names == ("Ann/3, the third.png", "deep/Zoë/1.png", "deep/er/Bea/2.png")
    assert folder.people() == ["Ann", "Zoë", "Bea"]
    assert folder.read_faces()[:, 0, 0, 0].tolist() == [3, 1, 2]


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("../secret.jpg,Ann", "leaves the list's folder, in line 2"),
        ("a/../../secret.jpg,Ann", "leaves the list's folder, in line 2"),
        ("a\\..\\secret.jpg,Ann", "leaves the list's folder, in line 2"),
        ("/etc/secret.jpg,Ann", "leaves the list's folder, in line 2"),
        ("C:\\secret.jpg,Ann", "leaves the list's folder, in line 2"),
        ("\\\\server\\secret.jpg,Ann", "leaves the list's folder, in line 2"),
        ("a.jpg,..", "the person '..', which cannot be the name of a folder, in line 2"),
        ("a.jpg,A/nn", "the person 'A/nn', which cannot be the name of a folder, in line 2"),
        ("a.jpg,", "the person '', which cannot be the name of a folder, in line 2"),
        ("a.jpg", "1 cells in line 2"),
        ("a.jpg,Ann,3", "3 cells in line 2"),
        ("passwd,Ann", "'passwd', which is not a picture, in line 2"),
        (",Ann", "'', which is not a picture, in line 2"),
        ("path,person", "'path', which is not a picture, in line 2"),
        ("./first.jpg,Ann", "'first.jpg' a second time in line 2"),
        ('"a.jpg,Ann', "unexpected end of data in line 2"),
        ('"a"b.jpg,Ann', "in line 2"),
    ],
)
def test_a_wrong_line_is_refused_by_its_number(tmp_path: Path, line: str, found: str) -> None:
    with pytest.raises(EdgefrError) as caught:
        open_faces(write(tmp_path, f"first.jpg,Ann\n{line}\n"))
    assert found in str(caught.value)
    assert str(tmp_path / "faces.csv") in str(caught.value)


def test_a_picture_that_is_listed_but_not_there_is_named(tmp_path: Path) -> None:
    (tmp_path / "folder.jpg").mkdir()
    folder = open_faces(write(tmp_path, "gone.jpg,Ann\nfolder.jpg,Ann\n"))
    with pytest.raises(EdgefrError, match=r"Ann/gone\.jpg, found No such file"):
        folder.read("Ann/gone.jpg")
    with pytest.raises(EdgefrError, match=r"Ann/folder\.jpg, found something that is not a file"):
        folder.read("Ann/folder.jpg")
    with pytest.raises(EdgefrError, match="no picture of that name"):
        folder.read("gone.jpg")


def test_bytes_that_are_no_text_and_a_list_of_nothing_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "faces.csv"
    path.write_bytes(b"\xff\xfe\0a")
    with pytest.raises(EdgefrError, match="can't decode"):
        open_faces(path)
    path.write_bytes(b"path,person\n")
    with pytest.raises(EdgefrError, match="found none"):
        open_faces(path)


@settings(max_examples=150, deadline=None)
@given(
    st.one_of(
        st.binary(max_size=60),
        st.lists(st.sampled_from(["a.jpg", "../", "/", "\\", "Ann", ",", '"', "\n", "\r", "\0", ".", " "]), max_size=14)
        .map("".join)
        .map(str.encode),
    )
)
def test_whatever_a_list_holds_no_path_leaves_its_folder(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "faces.csv"
        path.write_bytes(content)
        try:
            pictures = read_list(path)
        except EdgefrError:
            return
        for name, picture in pictures.items():
            assert (path.parent / picture).resolve().is_relative_to(path.parent.resolve())
            assert Path(name).name == Path(picture).name
