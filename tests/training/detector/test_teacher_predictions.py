"""The teacher answers at every place what OpenCV's own decoding says of the best of them."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("torch")

from edgefr.errors import EdgefrError
from edgefr.nn.spot_network import anchor_points
from edgefr.training.detector.label_averaging import warp_detections
from edgefr.training.detector.teacher_predictions import YuNetDense, apply_known_labels, rotate_predictions


@pytest.mark.shared
def test_the_surest_answers_are_what_opencv_finds(yunet: Path) -> None:
    from skimage import data

    picture = np.ascontiguousarray(data.astronaut()[:320, 32:448])
    net = cv2.FaceDetectorYN.create(str(yunet), "", picture.shape[1::-1], 0.6, 0.3)
    _, found = net.detect(cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    answers = YuNetDense(yunet).of(picture)
    assert answers.shape == (len(anchor_points(*picture.shape[:2])), 15)
    for row in found:
        assert np.abs(answers - row).max(1).min() < 0.05
    assert answers[:, 14].max() == pytest.approx(found[:, 14].max(), abs=1e-4)


@pytest.mark.shared
def test_sure_answers_come_from_places_within_the_face(yunet: Path) -> None:
    """Rows and columns are not exchanged, nor grids."""
    from skimage import data

    picture = np.ascontiguousarray(data.astronaut()[:256, 96:448])
    answers, at = YuNetDense(yunet).of(picture), anchor_points(*picture.shape[:2]).numpy()[:, :2]
    sure = answers[:, 14] > 0.5
    low, high = answers[sure, :2], answers[sure, :2] + answers[sure, 2:4]
    assert 3 < sure.sum() < 40
    assert ((at[sure] > low) & (at[sure] < high)).all()


def test_a_teacher_that_is_none_is_refused(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "yunet.onnx").write_bytes(b"no network")
    with pytest.raises(EdgefrError, match="YuNet"):
        YuNetDense(tmp_path / "yunet.onnx")


def answer(x: float, score: float) -> list[float]:
    """A face of 20 pixels at (x, 10) with all points in its middle."""
    return [x, 10, 20, 20, *[x + 10, 20] * 5, score]


def test_answers_of_a_known_face_get_its_box_and_points_but_keep_their_score() -> None:
    known = np.array([answer(10, 0.9), answer(60, 0.8)], np.float32)
    known[:, 4:14] += 3
    said = np.array([answer(12, 0.7), answer(58, 0.2), answer(18, 0.4), answer(35, 0.6)], np.float32)
    better = apply_known_labels(said, known, no_others=False)
    assert np.array_equal(better[:2, :14], known[:, :14])
    assert np.array_equal(better[2:, :14], said[2:, :14])  # beside a face, and elsewhere
    assert np.array_equal(better[:, 14], said[:, 14])


def test_where_no_others_are_only_answers_elsewhere_count_nothing() -> None:
    known = np.array([answer(10, 0.9)], np.float32)
    said = np.array([answer(12, 0.7), answer(18, 0.4), answer(60, 0.6)], np.float32)
    assert apply_known_labels(said, known, no_others=True)[:, 14].tolist() == pytest.approx([0.7, 0.4, 0])
    assert apply_known_labels(said, known[:0], no_others=True)[:, 14].tolist() == [0, 0, 0]
    assert said[2, 14] == pytest.approx(0.6)  # what was given is left alone


@pytest.mark.shared
def test_corrected_points_of_a_turned_head_lie_on_it_unlike_the_teachers(yunet: Path) -> None:
    from skimage import data

    photo = np.ascontiguousarray(data.astronaut()[:256, 96:352])
    net = cv2.FaceDetectorYN.create(str(yunet), "", photo.shape[1::-1], 0.6, 0.3)
    _, upright = net.detect(cv2.cvtColor(photo, cv2.COLOR_RGB2BGR))
    turn = cv2.getRotationMatrix2D((128, 128), 30, 1)
    answers = YuNetDense(yunet).of(np.asarray(cv2.warpAffine(photo, turn, (256, 256)), np.uint8))
    expected = warp_detections(upright, turn)
    best = int(answers[:, 14].argmax())
    before, after = (
        float(np.abs(rows[best, 4:14] - expected[0, 4:14]).max())
        for rows in (answers, apply_known_labels(answers, expected, no_others=True))
    )
    assert before > 5
    assert after == 0


@pytest.mark.parametrize("degrees", [-45.0, 20.0, 180.0])
def test_a_turned_pictures_answers_are_those_of_the_places_where_its_parts_came_from(degrees: float) -> None:
    side = 128
    at = anchor_points(side, side).numpy()
    middle = at[:, :2] - 0.5
    answers = np.zeros((len(at), 15), np.float32)
    answers[:, :2], answers[:, 2:4] = middle - 5, 10
    answers[:, 4:14] = np.tile(middle, 5)  # every place says where it is
    answers[:, 14] = (middle[:, 0] > 64) & (middle[:, 1] > 64)  # of the lower right quarter it is sure
    picture = np.zeros((side, side, 3), np.uint8)
    picture[64:, 64:] = 255
    image, new = rotate_predictions(picture, answers, degrees)
    off = np.abs(new[:, 4:6] - middle)
    within = np.linalg.norm(middle - 63.5, axis=1) < 50
    assert (off[within] <= 0.75 * at[within, 2:]).all()  # half a stride, turned
    sure = new[:, 14] > 0
    x, y = np.rint(middle[sure]).astype(int).T
    assert image[y, x].mean() > 230
    x, y = np.rint(middle[~sure]).astype(int).T
    assert image[y, x].mean() < 15
    assert np.array_equal(answers[:, 4:6], middle.astype(np.float32))  # what was given is left alone


@pytest.mark.shared
def test_a_turned_heads_points_lie_on_it(yunet: Path) -> None:
    from skimage import data

    photo = np.ascontiguousarray(data.astronaut()[:256, 96:352])
    answers = YuNetDense(yunet).of(photo)
    best = answers[answers[:, 14].argmax()]
    _, new = rotate_predictions(photo, answers, 40)
    expected = warp_detections(best[None], cv2.getRotationMatrix2D((127.5, 127.5), 40, 1))[0]
    sure = new[new[:, 14] > 0.6]
    assert len(sure) > 3
    assert np.abs(sure[:, 4:14] - expected[4:14]).max() < 12
    assert new[:, 14].max() == pytest.approx(best[14], abs=0.1)
