"""Dense predictions: the best are those of OpenCV's own decoding, and rotations and known faces correct them."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("torch")

from edgefr.detection.base import Detections
from edgefr.detection.geometry import warp_detections
from edgefr.errors import EdgefrError
from edgefr.nn.spot_network import anchor_points
from edgefr.training.detector.teacher_predictions import YuNetDense, apply_known_labels, rotate_predictions


@pytest.mark.shared
def test_the_best_predictions_are_those_of_opencv(yunet: Path) -> None:
    from skimage import data

    picture = np.ascontiguousarray(data.astronaut()[:320, 32:448])
    net = cv2.FaceDetectorYN.create(str(yunet), "", picture.shape[1::-1], 0.6, 0.3)
    _, found = net.detect(cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    answers = YuNetDense(yunet).predict(picture).to_rows()
    assert answers.shape == (len(anchor_points(*picture.shape[:2])), 15)
    for row in found:
        assert np.abs(answers - row).max(1).min() < 0.05
    assert answers[:, 14].max() == pytest.approx(found[:, 14].max(), abs=1e-4)


@pytest.mark.shared
def test_confident_predictions_come_from_anchor_points_inside_the_face(yunet: Path) -> None:
    """Rows and columns are not exchanged, nor grids."""
    from skimage import data

    picture = np.ascontiguousarray(data.astronaut()[:256, 96:448])
    predictions, at = YuNetDense(yunet).predict(picture), anchor_points(*picture.shape[:2]).numpy()[:, :2]
    sure = predictions.scores > 0.5
    low = predictions.boxes[sure, :2]
    high = low + predictions.boxes[sure, 2:]
    assert 3 < sure.sum() < 40
    assert ((at[sure] > low) & (at[sure] < high)).all()


def test_a_file_that_is_not_yunet_is_refused(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "yunet.onnx").write_bytes(b"no network")
    with pytest.raises(EdgefrError, match="YuNet"):
        YuNetDense(tmp_path / "yunet.onnx")


def faces_at(*places: tuple[float, float]) -> Detections:
    """Faces of 20 pixels at (x, 10) with all landmarks in the middle, for each x and score."""
    rows = [[x, 10, 20, 20, *[x + 10, 20] * 5, score] for x, score in places]
    return Detections.from_rows(np.array(rows, np.float32).reshape(-1, 15))


def test_predictions_of_a_known_face_get_its_box_and_landmarks_but_keep_their_score() -> None:
    known = faces_at((10, 0.9), (60, 0.8))
    known.landmarks[:] += 3
    predictions = faces_at((12, 0.7), (58, 0.2), (18, 0.4), (35, 0.6))
    better = apply_known_labels(predictions, known, complete=False)
    assert np.array_equal(better.to_rows()[:2, :14], known.to_rows()[:, :14])
    assert np.array_equal(better.to_rows()[2:, :14], predictions.to_rows()[2:, :14])  # near a face, and elsewhere
    assert np.array_equal(better.scores, predictions.scores)


def test_predictions_away_from_all_known_faces_get_score_zero() -> None:
    known = faces_at((10, 0.9))
    predictions = faces_at((12, 0.7), (18, 0.4), (60, 0.6))
    assert apply_known_labels(predictions, known, complete=True).scores.tolist() == pytest.approx([0.7, 0.4, 0])
    assert apply_known_labels(predictions, faces_at(), complete=True).scores.tolist() == [0, 0, 0]
    assert predictions.scores[2] == pytest.approx(0.6)  # the input is not changed


@pytest.mark.shared
def test_corrected_landmarks_of_a_rotated_head_are_right_unlike_the_teachers(yunet: Path) -> None:
    from skimage import data

    photo = np.ascontiguousarray(data.astronaut()[:256, 96:352])
    net = cv2.FaceDetectorYN.create(str(yunet), "", photo.shape[1::-1], 0.6, 0.3)
    _, upright = net.detect(cv2.cvtColor(photo, cv2.COLOR_RGB2BGR))
    turn = cv2.getRotationMatrix2D((128, 128), 30, 1)
    predictions = YuNetDense(yunet).predict(np.asarray(cv2.warpAffine(photo, turn, (256, 256)), np.uint8))
    expected = warp_detections(Detections.from_rows(upright), turn)
    best = int(predictions.scores.argmax())
    before, after = (
        float(np.abs(each.landmarks[best] - expected.landmarks[0]).max())
        for each in (predictions, apply_known_labels(predictions, expected, complete=True))
    )
    assert before > 5
    assert after == 0


@pytest.mark.parametrize("degrees", [-45.0, 20.0, 180.0])
def test_a_rotated_picture_has_the_predictions_of_the_source_anchor_points(degrees: float) -> None:
    side = 128
    at = anchor_points(side, side).numpy()
    middle = at[:, :2] - 0.5
    answers = np.zeros((len(at), 15), np.float32)
    answers[:, :2], answers[:, 2:4] = middle - 5, 10
    answers[:, 4:14] = np.tile(middle, 5)  # every place says where it is
    answers[:, 14] = (middle[:, 0] > 64) & (middle[:, 1] > 64)  # of the lower right quarter it is sure
    picture = np.zeros((side, side, 3), np.uint8)
    picture[64:, 64:] = 255
    image, new = rotate_predictions(picture, Detections.from_rows(answers), degrees)
    off = np.abs(new.landmarks[:, 0] - middle)
    within = np.linalg.norm(middle - 63.5, axis=1) < 50
    assert (off[within] <= 0.75 * at[within, 2:]).all()  # half a stride, turned
    sure = new.scores > 0
    x, y = np.rint(middle[sure]).astype(int).T
    assert image[y, x].mean() > 230
    x, y = np.rint(middle[~sure]).astype(int).T
    assert image[y, x].mean() < 15
    assert np.array_equal(answers[:, 4:6], middle.astype(np.float32))  # the input is not changed


@pytest.mark.shared
def test_landmarks_of_a_rotated_head_lie_on_it(yunet: Path) -> None:
    from skimage import data

    photo = np.ascontiguousarray(data.astronaut()[:256, 96:352])
    predictions = YuNetDense(yunet).predict(photo)
    best = predictions.take([int(predictions.scores.argmax())])
    _, new = rotate_predictions(photo, predictions, 40)
    expected = warp_detections(best, cv2.getRotationMatrix2D((127.5, 127.5), 40, 1))
    sure = new.take(new.scores > 0.6)
    assert len(sure) > 3
    assert np.abs(sure.landmarks - expected.landmarks[0]).max() < 12
    assert new.scores.max() == pytest.approx(best.scores[0], abs=0.1)
