"""Pictures that only have the size of aligned faces are told from aligned ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgefr.data.collections import open_faces
from edgefr.detection.detector_registry import open_detector
from edgefr.models import MINI, shipped_model
from edgefr.recognition.alignment import align
from edgefr.recognition.alignment_check import AlignmentCheck, check_alignment
from edgefr.types import Image
from tests.cli.conftest import Told, edgefr  # noqa: F401 - a fixture

Edgefr = Callable[..., Told]


@pytest.fixture(scope="module")
def portraits() -> list[Image]:
    """Six copies of the astronaut's portrait that are turned and lit in different ways."""
    astronaut = pytest.importorskip("skimage.data").astronaut()[:260, 90:350]
    turns = (cv2.getRotationMatrix2D((130, 120), degrees, 1) for degrees in (-12, -8, -4, 4, 8, 12))
    return [np.asarray(cv2.warpAffine(astronaut, turn, (260, 260)), np.uint8) for turn in turns]


def write(folder: Path, pictures: list[Image]) -> Path:
    """A collection with one person for each picture."""
    for number, picture in enumerate(pictures):
        (folder / str(number)).mkdir(parents=True)
        cv2.imwrite(str(folder / str(number) / "a.png"), picture[..., ::-1])
    return folder


def resized(portraits: list[Image]) -> list[Image]:
    return [np.asarray(cv2.resize(portrait, (112, 112), interpolation=cv2.INTER_AREA)) for portrait in portraits]


def check(folder: Path, pictures: list[Image]) -> AlignmentCheck:
    faces = open_faces(write(folder / "faces", pictures))
    return check_alignment(faces, faces.names)


def aligned(portraits: list[Image]) -> list[Image]:
    detector = open_detector(Path("spot"))
    return [align(portrait, detector.detect(portrait)[0].landmarks) for portrait in portraits]


def test_aligned_faces_cause_no_warning(tmp_path: Path, portraits: list[Image]) -> None:
    found = check(tmp_path, aligned(portraits))
    assert (found.checked, found.aligned, found.warning("x")) == (6, True, None)


def test_resized_photographs_are_no_aligned_faces(tmp_path: Path, portraits: list[Image]) -> None:
    found = check(tmp_path, resized(portraits))
    assert (found.checked, found.aligned) == (6, False)
    warning = found.warning("faces.zip")
    assert warning is not None
    assert warning.startswith("the pictures of faces.zip have 112x112 pixels but seem not to be aligned faces: in 6 of")
    assert "`edgefr data align`" in warning


def test_photographs_and_pictures_without_faces_give_no_verdict(tmp_path: Path, portraits: list[Image]) -> None:
    wall = np.full((112, 112, 3), 128, np.uint8)
    (tmp_path / "faces/bad").mkdir(parents=True)
    (tmp_path / "faces/bad/a.jpg").write_bytes(b"no picture")
    found = check(tmp_path, [*portraits, *aligned(portraits)[:2], wall, wall])
    assert found == AlignmentCheck(2, None, None)
    assert found.warning("x") is None


def test_data_check_eval_and_calibrate_warn(
    edgefr: Edgefr,  # noqa: F811
    tmp_path: Path,
    portraits: list[Image],
) -> None:
    wrong, right = (write(tmp_path / name, made(portraits)) for name, made in (("wrong", resized), ("right", aligned)))
    warning = "112x112 pixels but seem not to be aligned faces"
    told = edgefr("data", "check", wrong, "--json")
    assert warning in told.err
    assert told.json["alignment"]["aligned"] is False
    assert warning in edgefr("eval", "fake", wrong, "--protocol", "clean").err
    model = tmp_path / "mini.onnx"
    model.write_bytes(shipped_model(MINI).read_bytes())
    assert warning in edgefr("calibrate", model, wrong).err
    told = edgefr("data", "check", right)
    assert warning not in told.err
    assert "aligned to the template" in told.out
    assert warning not in edgefr("eval", "fake", right, "--protocol", "clean").err
    assert warning not in edgefr("calibrate", model, right).err


@pytest.mark.shared
@pytest.mark.parametrize("name", ["lfw-aligned-112.zip", "faces-celeba.zip", "faces-unlabelled.zip"])
def test_faces_that_others_aligned_are_aligned(shared: Path, name: str) -> None:
    faces = open_faces(shared / name)
    assert check_alignment(faces, faces.names).aligned is True
