"""The teacher answers at every place what OpenCV's own decoding says of the best of them."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("torch")

from edgefr.errors import EdgefrError
from edgefr.nn.spot import places
from edgefr.train.answers import Answers


@pytest.mark.shared
def test_the_surest_answers_are_what_opencv_finds(yunet: Path) -> None:
    from skimage import data

    picture = np.ascontiguousarray(data.astronaut()[:320, 32:448])
    net = cv2.FaceDetectorYN.create(str(yunet), "", picture.shape[1::-1], 0.6, 0.3)
    _, found = net.detect(cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    answers = Answers(yunet).of(picture)
    assert answers.shape == (len(places(*picture.shape[:2])), 15)
    for row in found:
        assert np.abs(answers - row).max(1).min() < 0.05
    assert answers[:, 14].max() == pytest.approx(found[:, 14].max(), abs=1e-4)


@pytest.mark.shared
def test_sure_answers_come_from_places_within_the_face(yunet: Path) -> None:
    """Rows and columns are not exchanged, nor grids."""
    from skimage import data

    picture = np.ascontiguousarray(data.astronaut()[:256, 96:448])
    answers, at = Answers(yunet).of(picture), places(*picture.shape[:2]).numpy()[:, :2]
    sure = answers[:, 14] > 0.5
    low, high = answers[sure, :2], answers[sure, :2] + answers[sure, 2:4]
    assert 3 < sure.sum() < 40
    assert ((at[sure] > low) & (at[sure] < high)).all()


def test_a_teacher_that_is_none_is_refused(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "yunet.onnx").write_bytes(b"no network")
    with pytest.raises(EdgefrError, match="YuNet"):
        Answers(tmp_path / "yunet.onnx")
