"""Simulated attacks in a folder: a picture for each photograph, and all of them or none."""

from __future__ import annotations

from pathlib import Path

import cv2
import pytest

pytest.importorskip("skimage")

from skimage import data

from edgefr.data.collections import open_faces
from edgefr.detection.detector_registry import open_detector
from edgefr.errors import EdgefrError, InvalidArgumentError, UnavailableError
from edgefr.jobs.simulate_attacks import simulate_attacks
from edgefr.models import SPOT, shipped_model


def ignore(_count: int) -> None:
    pass


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    for name in ("Ada/1.jpg", "Grace/1.jpg"):
        path = tmp_path / "photographs" / name
        path.parent.mkdir(parents=True)
        cv2.imwrite(str(path), cv2.cvtColor(data.astronaut(), cv2.COLOR_RGB2BGR))
    return tmp_path / "photographs"


def attack(photographs: Path, output: Path) -> tuple[int, dict[str, str]]:
    detector = open_detector(shipped_model(SPOT))
    return simulate_attacks(open_faces(photographs), detector, "largest", output, 0, ignore)


def test_photographs_whose_names_differ_only_in_their_suffix_are_refused(photographs: Path, tmp_path: Path) -> None:
    """The attack of the one would replace that of the other."""
    (photographs / "Ada" / "1.png").write_bytes((photographs / "Ada" / "1.jpg").read_bytes())
    with pytest.raises(InvalidArgumentError, match=r"2 that become Ada/1\.png"):
        attack(photographs, tmp_path / "attacks")
    assert not (tmp_path / "attacks").exists()


def test_an_interrupted_run_leaves_nothing(photographs: Path, tmp_path: Path) -> None:
    """A part of the attacks would be taken for all of them, and a second run would refuse the folder."""

    def interrupt(_count: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        simulate_attacks(
            open_faces(photographs), open_detector(shipped_model(SPOT)), "largest", tmp_path / "attacks", 0, interrupt
        )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["photographs"]
    assert attack(photographs, tmp_path / "attacks") == (4, {})
    assert (tmp_path / "attacks").stat().st_mode & 0o077 == 0, "only the owner sees faces"


def test_a_folder_that_cannot_be_written_is_an_error_in_a_sentence(photographs: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UnavailableError, match=r"attacks cannot be written"):
        attack(photographs, tmp_path / "file" / "attacks")
    with pytest.raises(EdgefrError, match="a new folder"):
        attack(photographs, photographs)
