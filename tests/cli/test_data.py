"""`edgefr data check` and `edgefr data align` as a script sees them."""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edgefr.data.collections import open_faces
from tests.cli.conftest import Told
from tests.data.test_collection_check import face, png
from tests.data.test_recordio import image, write_records

Edgefr = Callable[..., Told]


@pytest.fixture
def faces(tmp_path: Path) -> Path:
    """30 sound faces of ten people."""
    path = tmp_path / "faces.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(30):
            archive.writestr(f"{number % 10}/{number}.png", png(face(number)))
    return path


def test_a_clean_collection_exits_0(edgefr: Edgefr, faces: Path) -> None:
    told = edgefr("data", "check", faces)
    assert told.code == 0
    assert "30 pictures checked; 10 people" in told.out
    assert "in order (0 of 30 seem swapped)" in told.out
    assert told.err == ""
    document = edgefr("data", "check", faces, "--json").json
    assert document["clean"] is True
    assert document["corrupt"] == {}
    assert document["channels"] == {"verdict": "rgb", "right": 30, "swapped": 0, "suspects": []}


def test_faults_exit_1_and_are_listed(edgefr: Edgefr, faces: Path) -> None:
    with zipfile.ZipFile(faces, "a") as archive:
        archive.writestr("bad/bad.jpg", b"no picture")
        archive.writestr("bad/twice.png", png(face(4)))
        for number in range(25):
            archive.writestr(f"bad/small-{number:02}.png", png(face(100 + number, 64)))
    told = edgefr("data", "check", faces)
    assert told.code == 1
    for line in ("bad/bad.jpg: no picture of these kinds", "4/4.png  bad/twice.png", "bad/small-19.png: 64x64"):
        assert line in told.out
    assert "bad/small-20.png" not in told.out
    assert "and 5 more; --json lists all" in told.out
    told = edgefr("data", "check", faces, "--json")
    assert told.code == 1
    assert len(told.json["wrong_size"]) == 25
    assert told.json["duplicates"] == [["4/4.png", "bad/twice.png"]]


def test_a_limit_checks_pictures_of_all_parts(edgefr: Edgefr, faces: Path) -> None:
    document = edgefr("data", "check", faces, "--limit", 10, "--json").json
    assert (document["pictures"], document["people"]) == (10, 10)
    assert edgefr("data", "check", faces, "--limit", 100, "--json").json["pictures"] == 30


def test_records_are_checked_as_files_are(edgefr: Edgefr, tmp_path: Path) -> None:
    swapped = {number: image(number % 3, png(np.ascontiguousarray(face(number)[..., ::-1]))) for number in range(9)}
    told = edgefr("data", "check", write_records(tmp_path / "train.rec", swapped))
    assert told.code == 1
    assert "swapped: exchange them in every picture (9 of 9 seem swapped)" in told.out


def test_a_collection_that_cannot_be_opened_exits_2(edgefr: Edgefr, tmp_path: Path) -> None:
    assert "found nothing" in edgefr("data", "check", tmp_path / "nowhere").sentence
    path = write_records(tmp_path / "train.rec", {1: image(0, b"x"), 2: image(0, b"y")})
    path.write_bytes(path.read_bytes()[:-8])
    assert "record 2" in edgefr("data", "check", path).sentence


def test_an_output_other_than_a_zip_is_refused_before_any_work(edgefr: Edgefr, faces: Path, tmp_path: Path) -> None:
    assert ".zip" in edgefr("data", "align", faces, "-o", tmp_path / "faces.rec").sentence
    assert (
        "no such file" in edgefr("data", "align", faces, "-o", tmp_path / "a.zip", "-d", "none.onnx").sentence.lower()
    )
    assert not (tmp_path / "a.zip").exists()


@pytest.mark.shared
def test_photographs_become_faces_that_pass_the_check(
    edgefr: Edgefr, shared: Path, yunet: Path, tmp_path: Path
) -> None:
    photos = tmp_path / "photos"
    for name in ("obama", "biden"):
        (photos / name).mkdir(parents=True)
        shutil.copy(shared / f"photos/{name}.jpg", photos / name)
    (photos / "nobody").mkdir()
    (photos / "nobody/plain.png").write_bytes(png(face(1)))
    output = tmp_path / "faces.zip"
    told = edgefr("data", "align", photos, "-o", output, "-d", yunet, "--face", "centre", "--json")
    assert told.code == 0
    assert told.json["faces"] == 2
    assert [entry["name"] for entry in told.json["left_out"]] == ["nobody/plain.png"]
    assert told.err.startswith("edgefr: left out: expected a face in nobody/plain.png")
    assert open_faces(output).read_faces().shape == (2, 112, 112, 3)
    assert edgefr("data", "check", output).code == 0


def test_select_keeps_people_apart(edgefr: Edgefr, faces: Path, tmp_path: Path) -> None:
    (tmp_path / "choose.txt").write_text("1\n2\n")
    (tmp_path / "calibrate.txt").write_text("3\n")
    lists = ("--without", tmp_path / "choose.txt", "--without", tmp_path / "calibrate.txt")
    told = edgefr("data", "select", faces, "-o", tmp_path / "train.zip", *lists)
    assert told.out == f"21 pictures of 7 people in {tmp_path / 'train.zip'}, 9 pictures of others left out.\n"
    chosen = edgefr("data", "select", faces, "-o", tmp_path / "c.zip", "--people", tmp_path / "choose.txt", "--json")
    assert chosen.json == {"output": str(tmp_path / "c.zip"), "pictures": 6, "people": 2, "left_out": 24}
    assert set(open_faces(tmp_path / "train.zip").people()).isdisjoint(open_faces(tmp_path / "c.zip").people())
    assert "ends in .zip" in edgefr("data", "select", faces, "-o", tmp_path / "train").sentence
