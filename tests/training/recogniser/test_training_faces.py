"""What trains: told from others by the pictures' content, and without the people held out."""

from __future__ import annotations

import hashlib
import os
import pickle
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("torch")

from edgefr.errors import EdgefrError
from edgefr.io.files import sha256_of
from edgefr.manifest import HeldOut, Manifest, write_manifest
from edgefr.training.common.recipes import DataConfig
from edgefr.training.recogniser.training_faces import TrainingFaces, read_training_faces

PEOPLE = [f"p{person}" for person in range(10)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A picture of each of ten people, and a list of them beside it."""
    root = tmp_path / "pictures"
    for number, person in enumerate(PEOPLE):
        (root / person).mkdir(parents=True)
        cv2.imwrite(str(root / person / "1.png"), np.full((112, 112, 3), number, np.uint8))
    lines = [f"pictures/{person}/1.png,{person}" for person in PEOPLE]
    (tmp_path / "faces.csv").write_text("\n".join(lines))
    return root


def later(path: Path) -> None:
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 10**9))


@pytest.mark.parametrize("given", ["pictures", "faces.csv"])
@pytest.mark.parametrize("change", [later, lambda path: path.write_bytes(path.read_bytes() + b"\0")])
def test_another_picture_makes_other_faces(folder: Path, given: str, change) -> None:
    before = read_training_faces(DataConfig(folder.parent / given)).digest()
    assert read_training_faces(DataConfig(folder.parent / given)).digest() == before
    change(folder / "p3/1.png")
    assert read_training_faces(DataConfig(folder.parent / given)).digest() != before


def test_the_digest_of_faces_in_one_file_is_that_of_the_file(faces: Path) -> None:
    """Feature maps of hours are kept by this."""
    found = read_training_faces(DataConfig(faces))
    wanted = hashlib.sha256("\n".join(found.names).encode() + sha256_of(faces).encode()).hexdigest()
    later(faces)
    assert found.digest() == wanted


def test_one_file_is_read_through_once_and_by_no_worker(faces: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be of hundreds of gigabytes, and every stage, manifest and check asks."""
    asked: list[Path] = []
    monkeypatch.setattr("edgefr.data.collections.sha256_of", lambda path: asked.append(path) or sha256_of(path))
    data = DataConfig(faces)
    found = read_training_faces(data)
    assert found.held_out(data) == HeldOut(None, (), sha256_of(faces))
    worker = pickle.loads(pickle.dumps(found))
    assert worker.digest() == found.digest() == found.digest()
    assert asked == [faces]


def test_a_missing_picture_of_a_list_is_named(folder: Path) -> None:
    (folder / "p3/1.png").unlink()
    with pytest.raises(EdgefrError, match=r"p3/1\.png, found none .*from the list"):
        read_training_faces(DataConfig(folder.parent / "faces.csv")).digest()


@pytest.fixture
def chosen(folder: Path) -> tuple[TrainingFaces, DataConfig]:
    """Without the people of folds 9 and 10; fold n has a pair of the n-th with the next person."""
    pairs = [f"{person} 1 2\n{person} 1 {PEOPLE[number - 9]} 1" for number, person in enumerate(PEOPLE)]
    path = folder.parent / "pairs.txt"
    path.write_text("10 1\n" + "\n".join(line.replace(" ", "\t") for pair in pairs for line in pair.split("\n")))
    data = DataConfig(folder, path, test_folds=(9, 10))
    return read_training_faces(data), data


def trained(path: Path, held_out: HeldOut | None) -> Path:
    write_manifest(path, Manifest("checkpoint", "net", held_out=held_out))
    return path


def test_a_checkpoint_trained_on_the_people_held_out_is_refused(chosen, tmp_path: Path) -> None:
    faces, data = chosen
    ours, net = faces.held_out(data), tmp_path / "net.safetensors"
    for theirs, seen in (
        (HeldOut(ours.pairs, (8, 9), ours.faces), "10"),
        (HeldOut(ours.pairs, (1, 2), "other faces of the same people"), "9-10"),
        (HeldOut(None, (), ours.faces), "9-10"),
        (HeldOut("other pairs", (9, 10), ours.faces), "9-10"),
    ):
        with pytest.raises(EdgefrError, match=rf"net\.safetensors .* trained on those of folds {seen}\. Train it"):
            faces.check_no_leakage(data, [trained(net, theirs)])


def test_a_checkpoint_of_other_or_unknown_people_is_accepted(chosen, tmp_path: Path) -> None:
    faces, data = chosen
    ours, net = faces.held_out(data), tmp_path / "net.safetensors"
    faces.check_no_leakage(data, [tmp_path / "no manifest"])
    for theirs in (None, HeldOut(ours.pairs, (8, 9, 10), ours.faces), HeldOut(None, (), "other faces")):
        faces.check_no_leakage(data, [trained(net, theirs)])
    trained(net, HeldOut(None, (), ours.faces))
    everybody = DataConfig(data.faces)
    read_training_faces(everybody).check_no_leakage(everybody, [net])
