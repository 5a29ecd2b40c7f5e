"""Every command that lists folders reads or reports the same files."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image as Pillow

from edgefr.cli.gallery_enroll import _find_people
from edgefr.detection.detector_registry import open_detector
from edgefr.jobs.embedding_shards import read_rows
from edgefr.jobs.job_description import read_job
from edgefr.manifest import Manifest, write_manifest
from tests.gallery.people import StubDetector, photo, thresholds
from tests.io.test_photo import as_a_user_without_rights

pytest.importorskip("pillow_heif").register_heif_opener()
MODEL = ("-m", "fake")


def written(path: Path, like: Path, kind: str) -> None:
    """A copy of a photograph in another format and under any name."""
    image = cv2.imread(str(like))[..., ::-1].copy()
    image[:16, :16] = 128  # no value that the stub of a detector knows, even after compression
    with path.open("wb") as file:
        Pillow.fromarray(image).save(file, kind, quality=95)


@pytest.fixture
def people(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two people: one with photographs of many kinds, one in a linked folder; and what is no photograph."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("edgefr.recognition.verifier.open_detector", lambda *_: StubDetector())
    monkeypatch.setattr("edgefr.detection.detector_registry.open_detector", lambda *_: StubDetector())
    monkeypatch.setenv("EDGEFR_GALLERY", str(tmp_path / "people.gallery"))
    monkeypatch.delenv("EDGEFR_GALLERY_KEY", raising=False)
    write_manifest(tmp_path / "fake", Manifest("onnx", "fake", thresholds=thresholds((1e-3, 0.5), (1e-5, 0.6))))
    folder = tmp_path / "people"
    first = photo(folder / "ada/1.png", 0)
    for number, (name, kind) in enumerate(
        {
            "2.jpe": "JPEG",
            "3.MPO": "MPO",
            "4.heic": "HEIF",
            "5.avif": "AVIF",
            "6.dat": "JPEG",
            "7.jp2": "JPEG2000",
        }.items()
    ):
        picture = photo(tmp_path / "source.png", 0, 1 + number)
        written(folder / "ada" / name, picture, kind)
    (folder / "ada/8.jpg").write_bytes(b"no picture")
    (folder / "ada/9.jpg").symlink_to("nowhere.jpg")
    (folder / "ada/notes.txt").write_text("hello")
    (folder / "ada/list.json").write_text("{}")
    (folder / "ada/loop").symlink_to(folder / "ada")
    photo(tmp_path / "elsewhere/1.png", 1)
    (folder / "grace").symlink_to(tmp_path / "elsewhere")
    assert first.is_file()
    return folder


READ = ["1.png", "2.jpe", "3.MPO", "4.heic", "5.avif", "1.png"]
UNLISTED = ["6.dat", "7.jp2", "9.jpg"]


def names(entries: list[dict[str, str]], key: str = "path") -> list[str]:
    return sorted(Path(entry[key]).name for entry in entries)


def test_embed_reads_or_reports_every_file(edgefr, people: Path) -> None:
    result = edgefr("embed", people, "-o", "faces.npz", *MODEL, "--json")
    assert result.code == 2
    assert sorted(Path(path).name for path in np.load("faces.npz")["path"]) == sorted(READ)
    assert names(result.json["left_out"]) == sorted([*UNLISTED, "8.jpg"])
    assert "not read: 2 other files" in result.err
    assert "1 link to folders that are read anyway" in result.err
    assert result.err.count("left out: ") == 4


def test_an_embedding_job_reads_or_reports_every_file(edgefr, people: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pyarrow")
    monkeypatch.setattr("edgefr.recognition.verifier.open_detector", open_detector)  # its process has no stub
    result = edgefr("embed", people, "-o", "shards", *MODEL, "--json")
    assert result.code == 2
    assert result.json["photographs"] == len(READ) + 1
    reasons = {Path(row.path).name: str(row.refused) for row in read_rows(Path("shards"), read_job(Path("shards")))}
    assert "found no picture" in reasons.pop("8.jpg")
    assert all(f"expected a face in {people.parent}" in reason for reason in reasons.values())
    assert names(result.json["left_out"]) == UNLISTED
    assert "not read: 2 other files" in result.err
    assert edgefr("embed", people / "grace", "-o", "other", *MODEL).code == 0


def test_enroll_reads_or_reports_every_file(edgefr, people: Path) -> None:
    photo(people / "stray.png", 9)
    result = edgefr("gallery", "enroll", "--folder", people, "--plain", *MODEL, "--json")
    assert result.code == 2
    ada, grace = result.json["people"]
    assert (ada["images"], grace["images"]) == (5, 1)
    assert names(ada["refused"]) == sorted([*UNLISTED, "8.jpg"])
    assert names(result.json["left_out"]) == ["stray.png"]
    assert "stray.png, found a picture. Move it into the right folder." in result.err
    assert "not read: 2 other files" in result.err


def test_identify_reads_or_reports_every_file(edgefr, people: Path) -> None:
    assert edgefr("gallery", "enroll", "Grace", people / "grace", "--plain", *MODEL).code == 0
    result = edgefr("gallery", "identify", people, *MODEL, "--json")
    assert result.code == 2
    assert names(result.json["answers"]) == sorted(READ)
    assert names(result.json["left_out"]) == sorted([*UNLISTED, "8.jpg"])
    assert "not read: 2 other files" in result.err


def test_align_reads_or_reports_every_file(edgefr, people: Path) -> None:
    result = edgefr("data", "align", people, "-o", "faces.zip", "--json")
    assert result.code == 0
    assert result.json["faces"] == 6
    assert names(result.json["left_out"], "name") == sorted([*UNLISTED, "8.jpg"])
    assert "not read: 2 other files" in result.err


def test_without_the_extra_phone_photographs_are_reported_with_its_command(
    edgefr, people: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    for command in (
        ("embed", people, "-o", "faces.npz", *MODEL),
        ("gallery", "enroll", "--folder", people, "--plain", *MODEL),
        ("data", "align", people, "-o", "faces.zip"),
    ):
        result = edgefr(*command)
        (line,) = [line for line in result.err.splitlines() if "4.heic" in line]
        assert "Run: pip install '.[photos]', or save the picture as JPEG." in line


@pytest.mark.skipif(not hasattr(os, "seteuid"), reason="permissions of POSIX systems")
def test_a_person_whose_folder_cannot_be_read_leaves_the_others_enrolled(edgefr, people: Path) -> None:
    closed = people / "closed"
    closed.mkdir()
    photo(closed / "1.png", 5)
    closed.chmod(0)
    opened = [*people.parents][:-1]
    modes = {folder: folder.stat().st_mode for folder in opened}
    for folder in opened:
        folder.chmod(modes[folder] | 0o55)
    try:
        with as_a_user_without_rights():
            found = _find_people(None, [], people)
    finally:
        for folder, mode in modes.items():
            folder.chmod(mode)
        closed.chmod(0o755)
    (person,) = [person for person in found.people if person.name == "closed"]
    assert "that it cannot be read (Permission denied)" in person.left_out[0].reason
    assert [person.name for person in found.people if person.photos] == ["ada", "grace"]
