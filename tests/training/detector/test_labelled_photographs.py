"""Labels of the teacher: they are made once and kept on disk."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

from edgefr.errors import EdgefrError
from edgefr.training.common.progress import no_progress
from edgefr.training.common.recipes import DataConfig
from edgefr.training.detector.labelled_photographs import label_photographs
from edgefr.training.recogniser.training_faces import TrainingFaces, read_training_faces
from tests.training.tiny import write_faces


def few(shared: Path, tmp_path: Path, count: int = 3) -> TrainingFaces:
    """The first photographs of LFW in a zip of their own."""
    with (
        zipfile.ZipFile(shared / "lfw-deepfunneled.zip") as archive,
        zipfile.ZipFile(tmp_path / "few.zip", "w") as copy,
    ):
        for name in archive.namelist()[:count]:
            copy.writestr(name, archive.read(name))
    return read_training_faces(DataConfig(tmp_path / "few.zip"))


@pytest.mark.shared
def test_the_best_face_of_each_photograph_is_around_its_middle(shared: Path, yunet: Path, tmp_path: Path) -> None:
    photographs = label_photographs(few(shared, tmp_path), yunet, tmp_path / "labels", no_progress)
    assert len(photographs) == 3
    for picture, labels in zip(photographs.pictures, photographs.labels, strict=True):
        assert picture.shape == (250, 250, 3)
        best = int(labels.scores.argmax())
        assert labels.scores[best] > 0.8
        box, landmarks = labels.boxes[best], labels.landmarks[best]
        assert box[:2] + box[2:] / 2 == pytest.approx([125, 125], abs=25)
        assert landmarks[0, 0] < landmarks[1, 0]  # the viewer's left eye comes first


@pytest.mark.shared
def test_labels_are_kept_and_belong_to_their_photographs(shared: Path, yunet: Path, tmp_path: Path) -> None:
    faces, kept = few(shared, tmp_path), tmp_path / "labels"
    first = label_photographs(faces, yunet, kept, no_progress)
    (path,) = kept.iterdir()
    written = path.stat().st_mtime_ns
    again = label_photographs(faces, yunet, kept, no_progress)
    assert path.stat().st_mtime_ns == written
    for a, b in zip(first.labels, again.labels, strict=True):
        assert np.array_equal(a.to_rows(), b.to_rows())
    (tmp_path / "other").mkdir()
    label_photographs(few(shared, tmp_path / "other", 2), yunet, kept, no_progress)
    assert len(list(kept.iterdir())) == 2
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(EdgefrError, match="Remove the file"):
        label_photographs(faces, yunet, kept, no_progress)


def test_a_missing_teacher_is_named(tmp_path: Path) -> None:
    faces = read_training_faces(DataConfig(write_faces(tmp_path / "faces.zip", 2)))
    with pytest.raises(EdgefrError, match=r"found no file\. Download face_detection_yunet_2023mar\.onnx"):
        label_photographs(faces, tmp_path / "yunet.onnx", tmp_path, no_progress)


def test_a_file_that_is_not_yunet_is_refused(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    faces = read_training_faces(DataConfig(write_faces(tmp_path / "faces.zip", 2)))
    (tmp_path / "yunet.onnx").write_bytes(b"no network")
    with pytest.raises(EdgefrError, match="YuNet"):
        label_photographs(faces, tmp_path / "yunet.onnx", tmp_path / "labels", no_progress)
    assert not (tmp_path / "labels").exists()
