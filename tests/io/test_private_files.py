"""Files with faces, templates and names are readable by their owner only, whatever was there before."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from edgefr.camera.event_file import JsonLinesFile
from edgefr.camera.recording import Mp4Recorder
from edgefr.camera.snapshot import SnapshotFile
from edgefr.camera.watcher import FrameResult
from edgefr.detection.base import Face
from edgefr.gallery.crypto.key_wrapping import NoSecret, Passphrase
from edgefr.gallery.file_gallery import FileGallery
from edgefr.gallery.model_binding import ModelBinding
from edgefr.gallery.transfer import export_gallery
from edgefr.io.files import atomic_write
from edgefr.io.private_files import open_private
from edgefr.recognition.batch import save_npz
from edgefr.recognition.verifier import EmbeddedFace
from edgefr.types import TEMPLATE
from tests.camera.people import frame


@pytest.fixture(autouse=True)
def open_umask() -> Iterator[None]:
    """A user whose files everyone can read."""
    before = os.umask(0)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def record(path: Path) -> None:
    recorder = Mp4Recorder(path)
    recorder.show(FrameResult(frame(0), (), ()))
    recorder.close()


def events(path: Path) -> None:
    file = JsonLinesFile(path, pytest.fail)
    file.send({"what": "left"})
    file.close()


WRITERS: dict[str, Callable[[Path], object]] = {
    "atomic": lambda path: write(path, private=True),
    "picture": lambda path: SnapshotFile(path).show(FrameResult(frame(0), (), ())),
    "record": record,
    "npz": lambda path: save_npz(path, [embedded()]),
    "events": events,
}


def embedded() -> EmbeddedFace:
    return EmbeddedFace("a.jpg", Face((0, 0, 9, 9), TEMPLATE, 0.9), np.ones(4, np.float32), 1.0, None, 1.0)


def write(path: Path, private: bool = False) -> None:
    with atomic_write(path, private) as temporary:
        temporary.write_bytes(b"x")


@pytest.mark.parametrize("writer", WRITERS)
def test_a_file_that_others_could_read_is_private_afterwards(writer: str, tmp_path: Path) -> None:
    path = tmp_path / "there.mp4"
    path.touch(0o666)
    assert mode(path) == 0o666
    WRITERS[writer](path)
    assert mode(path) == 0o600


@pytest.mark.parametrize("writer", sorted(WRITERS.keys() - {"events"}))
def test_folders_that_are_made_for_a_private_file_are_private(writer: str, tmp_path: Path) -> None:
    WRITERS[writer](tmp_path / "outer" / "inner" / "new.mp4")
    assert [mode(tmp_path / name) for name in ("outer", "outer/inner", "outer/inner/new.mp4")] == [0o700, 0o700, 0o600]


def test_other_files_follow_the_umask_of_the_user(tmp_path: Path) -> None:
    write(tmp_path / "folder" / "open.txt")
    os.umask(0o027)
    write(tmp_path / "group.txt")
    assert [mode(tmp_path / name) for name in ("folder", "folder/open.txt", "group.txt")] == [0o777, 0o666, 0o640]


def test_a_gallery_and_its_export_are_private(tmp_path: Path) -> None:
    export = tmp_path / "people.export"
    export.touch(0o644)
    with FileGallery.create(
        tmp_path / "new" / "people.gallery", NoSecret(), ModelBinding("model", "0" * 64, "spot", "1", "fp32", 4)
    ) as gallery:
        export_gallery(gallery, export, Passphrase("correct horse"), lambda _: None)
    assert [mode(path) for path in (tmp_path / "new", tmp_path / "new" / "people.gallery", export)] == [
        0o700,
        0o600,
        0o600,
    ]


def test_a_pipe_keeps_its_permissions(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe, 0o666)
    os.close(open_private(pipe, os.O_RDWR))
    assert mode(pipe) == 0o666


@pytest.mark.parametrize("private", [True, False])
def test_writing_changes_no_umask(private: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A umask belongs to the whole process: a file that another thread makes meanwhile would get the wrong mode."""
    monkeypatch.setattr(os, "umask", pytest.fail)
    write(tmp_path / "a.txt", private)
    assert mode(tmp_path / "a.txt") == (0o600 if private else 0o666)
