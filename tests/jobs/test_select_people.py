"""A collection of some people: the right pictures, byte for byte, and no list that selects too few without a word."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgefr.data.collections import open_faces
from edgefr.errors import EdgefrError, InvalidArgumentError
from edgefr.jobs.select_people import read_people, select_people
from tests.data.test_collection_check import face, png

ALL = {"ann", "bob", "cy", "dee"}


@pytest.fixture
def folders(tmp_path: Path):
    """Two collections: a zip of three people and a folder of two, one of whom is in both."""
    with zipfile.ZipFile(tmp_path / "first.zip", "w") as archive:
        for number, name in enumerate(("ann/1.png", "bob/1.png", "bob/2.png", "cy/1.png")):
            archive.writestr(name, png(face(number)))
    for number, name in enumerate(("bob/3.png", "dee/1.png")):
        path = tmp_path / "second" / name
        path.parent.mkdir(parents=True)
        path.write_bytes(png(face(10 + number)))
    return [open_faces(tmp_path / "first.zip"), open_faces(tmp_path / "second")]


@given(only=st.none() | st.sets(st.sampled_from(sorted(ALL))), without=st.sets(st.sampled_from([*sorted(ALL), "eve"])))
def test_every_picture_of_those_people_is_there_as_it_was(tmp_path_factory, only, without) -> None:
    tmp_path = tmp_path_factory.mktemp("select")
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        for number, person in enumerate(sorted(ALL) * 2):
            archive.writestr(f"{person}/{number}.png", png(face(number)))
    folder, output = open_faces(tmp_path / "all.zip"), tmp_path / "some.zip"
    people = (ALL if only is None else only) - without
    if not people:
        with pytest.raises(InvalidArgumentError, match="none are left"):
            select_people([folder], only, without, output, lambda _: None)
        assert not output.exists()
        return
    told = select_people([folder], only, without, output, lambda _: None)
    found = open_faces(output)
    assert set(found.people()) == people
    assert (told.pictures, told.people, told.left_out) == (2 * len(people), len(people), 8 - 2 * len(people))
    assert all(found.read_bytes(name) == folder.read_bytes(name) for name in found.names)


def test_collections_are_joined_and_give_the_same_file_again(folders, tmp_path: Path) -> None:
    written = []
    for name in ("a.zip", "b.zip"):
        told = select_people(folders, None, {"cy"}, tmp_path / name, lambda _: None)
        written.append((tmp_path / name).read_bytes())
    assert (told.pictures, told.people, told.left_out) == (5, 3, 1)
    assert open_faces(tmp_path / "a.zip").names == ("ann/1.png", "bob/1.png", "bob/2.png", "bob/3.png", "dee/1.png")
    assert written[0] == written[1]


def test_two_pictures_of_one_name_are_refused(folders, tmp_path: Path) -> None:
    with pytest.raises(InvalidArgumentError, match=r"ann/1\.png twice"):
        select_people([folders[0], folders[0]], None, (), tmp_path / "all.zip", lambda _: None)
    assert not (tmp_path / "all.zip").exists()


def test_a_list_that_does_not_belong_to_the_collections_is_refused(folders, tmp_path: Path) -> None:
    with pytest.raises(InvalidArgumentError, match="no picture of ann and 1 others"):
        select_people(folders[1:], {"bob", "ann", "zoe"}, (), tmp_path / "all.zip", lambda _: None)


def test_lists_may_have_comments_and_blank_lines(tmp_path: Path) -> None:
    path = tmp_path / "people.txt"
    path.write_text("# who\n\n bob \r\nann\n")
    assert read_people(path) == {"ann", "bob"}


def test_the_mark_that_windows_puts_before_a_text_is_no_part_of_the_first_name(tmp_path: Path) -> None:
    """Otherwise the pictures of that person would not be left out, without a word."""
    path = tmp_path / "people.txt"
    path.write_bytes(b"\xef\xbb\xbfann\r\nbob\r\n")
    assert read_people(path) == {"ann", "bob"}


@pytest.mark.parametrize("content", [b"", b"# nobody\n", b"\xff\xfe", b"a" * 2000])
def test_a_file_that_is_no_list_of_people_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "people.txt"
    path.write_bytes(content)
    with pytest.raises(EdgefrError):
        read_people(path)
    with pytest.raises(EdgefrError, match="a list of people"):
        read_people(tmp_path / "missing.txt")
