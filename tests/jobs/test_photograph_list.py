"""The list of a job: all photographs, each once and sorted, with any bytes in their names."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgefr.errors import EdgefrError
from edgefr.jobs.photograph_list import digest, list_paths, list_reader, printable, write_list


def names(paths: object) -> list[str]:
    return [os.fsdecode(path) for path in paths.to_pylist()]  # type: ignore[attr-defined]


def test_files_folders_globs_and_lists_are_sorted_without_duplicates(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("b/x/2.JPG", "b/1.png", "b/notes.txt", "a.jpg", "c[1].jpg"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(b"x")
    Path("b/folder.jpg").mkdir()
    Path("list").write_text("a.jpg\r\n\nmissing.jpg\nc[1].jpg")
    found = names(list_paths(["b", "b/*.png", str(tmp_path / "a.jpg")], Path("list")))
    wanted = ["a.jpg", "b/1.png", "b/x/2.JPG", "c[1].jpg", "missing.jpg"]
    assert found == [str(tmp_path / name) for name in wanted]


def test_an_empty_list_of_photographs_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "list").write_text("\n")
    (tmp_path / "picture.jpg").write_bytes(b"\xff\xd8\0\0" * 3000)
    for arguments, listed, match in (
        ([], None, "--list FILE"),
        ([str(tmp_path)], None, None),
        ([str(tmp_path / "*.png")], None, r"found none\. Check the path"),
        ([], tmp_path / "list", "--list FILE"),
        ([], tmp_path / "gone", "Check --list"),
        ([], tmp_path / "picture.jpg", "one path per line"),
    ):
        if match is None:
            assert len(list_paths(arguments, listed)) == 1
            continue
        with pytest.raises(EdgefrError, match=match):
            list_paths(arguments, listed)


def test_a_list_is_read_from_stdin(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "list").write_bytes(b"/b.jpg\n/a.jpg\n")
    with (tmp_path / "list").open() as file:
        monkeypatch.setattr(sys, "stdin", file)
        assert names(list_paths([], Path("-"))) == ["/a.jpg", "/b.jpg"]


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.binary(min_size=1, max_size=20).filter(lambda name: not set(name) & {0, 10, 13}), min_size=1),
    st.integers(1, 7),
)
def test_any_names_come_back_from_the_shards_of_the_list(lines: list[bytes], shard: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "names").write_bytes(b"\n".join(lines))
        paths = list_paths([], folder / "names")
        assert sorted({os.path.abspath(line) for line in lines}) == paths.to_pylist()  # noqa: PTH100
        write_list(folder, paths, shard)
        of_shard = list_reader(folder)
        read = [path for number in range(-(-len(paths) // shard)) for path in of_shard(number)]
        assert read == names(paths)
        assert all(printable(path).encode() for path in read)
        assert digest(paths) == digest(list_paths([], folder / "names"))
        if len(paths) > 1:
            assert digest(paths) != digest(paths.slice(1))
