"""Calibration measures in the precision at hand, on the people chosen, and refuses what cannot be measured."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from edgefr.data.collections import open_faces
from edgefr.errors import EdgefrError
from edgefr.evaluation.calibration import CalibrationFaces, calibrate, select_faces
from edgefr.evaluation.protocols import FaceCrop, aligned_crops
from edgefr.recognition.recogniser import open_recogniser
from edgefr.runtimes import FAKE

PEOPLE, IMAGES = 60, 3


def calibrate_aligned(recogniser, chosen, *more, **named):
    """Calibrate on aligned faces, with their brightness as the signal `sharpness`."""
    read_crops = aligned_crops(chosen.folder, {"sharpness": lambda face: float(face.mean())})
    return calibrate(recogniser, chosen, read_crops, *more, **named)


@pytest.fixture(scope="session")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixty people as coarse random patches, three noisy pictures of each."""
    folder, rng = tmp_path_factory.mktemp("faces"), np.random.default_rng(0)
    for person in range(PEOPLE):
        patches = rng.integers(60, 196, (8, 8, 3)).repeat(14, 0).repeat(14, 1)
        (folder / f"P{person:02}").mkdir()
        for image in range(IMAGES):
            noisy = np.clip(patches + rng.normal(0, 30, patches.shape), 0, 255).astype(np.uint8)
            cv2.imwrite(str(folder / f"P{person:02}" / f"P{person:02}_{image + 1:04}.png"), noisy)
    return folder


@pytest.fixture(scope="session")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two folds: the first forty people are in the first, the others in the second."""
    path = tmp_path_factory.mktemp("pairs") / "pairs.txt"
    lines = ["2\t20"]
    for people in (range(40), range(40, 60)):
        chosen = (list(people) * 2)[:20]
        lines += [f"P{who:02}\t1\t2" for who in chosen]
        lines += [f"P{who:02}\t1\tP{people[-1 - i % len(people)]:02}\t2" for i, who in enumerate(chosen)]
    path.write_text("\n".join(lines))
    return path


def test_the_threshold_keeps_the_false_match_rate(faces: Path) -> None:
    recogniser = open_recogniser(FAKE)
    told: list[int] = []
    (loose, strict), quality = calibrate_aligned(recogniser, select_faces(faces), (2e-2, 5e-3), progress=told.append)
    assert quality is None
    assert sum(told) == PEOPLE * IMAGES
    assert (loose.fmr, strict.fmr) == (2e-2, 5e-3)
    embedding = recogniser.embed(open_faces(faces).read_faces()).embedding
    label = np.repeat(np.arange(PEOPLE), IMAGES)
    first, second = np.triu_indices(len(label), 1)
    impostor = (embedding @ embedding.T)[first, second][label[first] != label[second]]
    for threshold in (loose, strict):
        assert int((impostor >= threshold.value).sum()) == int(threshold.fmr * len(impostor))
        assert threshold.ci95[0] <= threshold.value <= threshold.ci95[1]
        assert threshold.precision == "fp32"
        assert f"{len(impostor):,} impostor pairs of 60 people in {faces.name}" in threshold.measured_on


def test_only_the_people_of_the_folds_are_used(faces: Path, pairs: Path) -> None:
    chosen = select_faces(faces, pairs, (2,))
    assert {name.partition("/")[0] for name in chosen.names} == {f"P{who}" for who in range(40, 60)}
    (threshold,), _ = calibrate_aligned(open_recogniser(FAKE), chosen, (0.05,))
    assert "of 20 people in" in threshold.measured_on
    assert "folds 2 of pairs.txt" in threshold.measured_on


def test_a_quality_limit_leaves_the_share_below_it(faces: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgefr.evaluation.calibration.DISCARD", 0.25)
    recogniser = open_recogniser(FAKE)
    found = recogniser.embed(open_faces(faces).read_faces())
    brightness = open_faces(faces).read_faces().mean((1, 2, 3))
    for signal, values in (("norm", found.norm), ("certainty", -found.uncertainty), ("sharpness", brightness)):
        _, quality = calibrate_aligned(recogniser, select_faces(faces), (0.05,), signal)
        assert quality is not None
        assert quality.signal == signal
        assert (values < quality.limit).mean() == pytest.approx(0.25, abs=0.01)
        assert "25% lie below" in quality.measured_on


def test_a_rate_or_limit_that_cannot_be_measured_is_refused_before_faces_are_read(
    faces: Path, pairs: Path, tmp_path: Path, monkeypatch
) -> None:
    recogniser, told = open_recogniser(FAKE), []
    for fmr, sentence in ((1e-6, r"at least 30,000,000 impostor pairs .* found 15,930"), (0, "between 0 and 1")):
        with pytest.raises(EdgefrError, match=sentence):
            calibrate_aligned(recogniser, select_faces(faces), (0.05, fmr), progress=told.append)
    with pytest.raises(EdgefrError, match="at least 3,000 faces"):
        calibrate_aligned(recogniser, select_faces(faces), (0.05,), "norm", told.append)
    monkeypatch.setattr("edgefr.evaluation.calibration.DISCARD", 0.3)
    with pytest.raises(EdgefrError, match=r"with the signal detector, found aligned faces\. Give photographs"):
        calibrate_aligned(recogniser, select_faces(faces), (0.05,), "detector", progress=told.append)
    assert told == []
    with pytest.raises(EdgefrError, match="Give both --pairs and --folds"):
        select_faces(faces, pairs)
    with pytest.raises(EdgefrError, match="Give both --pairs and --folds"):
        select_faces(faces, None, (1,))
    with pytest.raises(EdgefrError, match="people of folds 7"):
        select_faces(faces, pairs, (7,))
    with pytest.raises(EdgefrError, match="expected faces"):
        select_faces(tmp_path / "nothing")


def test_pictures_without_a_face_are_left_out(faces: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The detector's score is calibrated on those that have one."""
    monkeypatch.setattr("edgefr.evaluation.calibration.DISCARD", 0.25)
    chosen = select_faces(faces)
    lost, score = set(chosen.names[::9]), dict(zip(chosen.names, np.linspace(0, 1, 180), strict=True))

    def read_crops(name: str, wanted: list[str]) -> list[FaceCrop | None]:
        face = chosen.folder.read(name)
        return [None if name in lost else FaceCrop(face, {"detector": score[name]}) for _ in wanted]

    recogniser = open_recogniser(FAKE)
    (threshold,), quality = calibrate(recogniser, chosen, read_crops, (0.05,), "detector")
    known = [score[name] for name in chosen.names if name not in lost]
    assert np.mean(np.array(known) < quality.limit) == pytest.approx(0.25, abs=0.01)
    assert quality.measured_on.startswith(f"{len(known)} faces")
    folder = chosen.folder
    fewer = CalibrationFaces(folder, tuple(name for name in chosen.names if name not in lost), chosen.description)
    assert calibrate_aligned(recogniser, fewer, (0.05,))[0] == (threshold,)
    with pytest.raises(EdgefrError, match="a face in at least one of 180 pictures"):
        calibrate(recogniser, chosen, lambda _name, wanted: [None] * len(wanted), (0.05,))
