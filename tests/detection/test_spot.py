"""Candidates of the network spot become faces of a photograph."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgefr.detection.base import Detections
from edgefr.detection.detector_registry import open_detector
from edgefr.detection.multiscale import detect_multiscale
from edgefr.detection.spot import CORNER
from tests.detection.pictures import gradient


def row(x: float, y: float, side: float, score: float) -> list[float]:
    return [x, y, side, side, *np.arange(10.0).tolist(), score]


def write_spot(path: Path, rows: list[list[float]]) -> Path:
    """A network that gives these candidates for every picture."""
    from onnx import TensorProto, helper, numpy_helper, save

    value = numpy_helper.from_array(np.array(rows, np.float32))
    picture = helper.make_tensor_value_info("image", TensorProto.UINT8, [1, "height", "width", 3])
    faces = helper.make_tensor_value_info("faces", TensorProto.FLOAT, ["places", 15])
    nodes = [helper.make_node("Constant", [], ["faces"], value=value)]
    graph = helper.make_graph(nodes, "spot", [picture], [faces])
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


@pytest.fixture
def detect(tmp_path: Path):
    pytest.importorskip("onnx")

    def found(rows: list[list[float]], height: int, width: int) -> Detections:
        detector = open_detector(write_spot(tmp_path / "any name.onnx", rows))
        assert detector.name == "spot"
        return detector.detect(gradient(height, width))

    return found


def test_a_small_picture_is_one_view(detect) -> None:
    (face,) = detect([row(10, 20, 30, 0.9), row(60, 60, 20, 0.3)], 100, 140)
    assert face.box == pytest.approx((10, 20, 30, 30))
    np.testing.assert_allclose(face.landmarks, np.arange(10).reshape(5, 2), atol=1e-5)
    assert face.score == pytest.approx(0.9)


def test_the_best_of_overlapping_faces_is_kept_and_the_best_comes_first(detect) -> None:
    faces = detect([row(10, 20, 30, 0.7), row(12, 20, 30, 0.8), row(90, 20, 30, 0.9)], 100, 140)
    assert [face.score for face in faces] == pytest.approx([0.9, 0.8])


def test_overlapping_candidates_vote_on_the_box_by_their_scores(detect) -> None:
    """The third overlaps too little, the fourth has too low a score."""
    (face,) = detect([row(10, 20, 30, 0.9), row(13, 20, 30, 0.6), row(22, 20, 30, 0.5), row(16, 20, 30, 0.2)], 100, 140)
    assert face.box[0] == pytest.approx((10 * 0.81 + 13 * 0.36) / (0.81 + 0.36))
    assert face.box[2] == pytest.approx(30)
    assert face.score == pytest.approx(0.9)


def test_a_detection_inside_a_face_is_dropped(detect) -> None:
    faces = detect([row(10, 10, 60, 0.9), row(25, 35, 30, 0.7), row(60, 60, 30, 0.7)], 140, 140)
    assert sorted(round(face.box[0]) for face in faces) == [10, 60]


def test_smaller_views_of_a_large_picture_add_only_large_faces(detect) -> None:
    faces = detect([row(0, 0, 40, 0.9), row(50, 50, 80, 0.8)], 2048, 2048)
    boxes = sorted(face.box for face in faces)
    at_1024 = [enlarged(2048 / 1024, 0, 40), enlarged(2048 / 1024, 50, 80)]
    others = [enlarged(2048 / 320, 50, 80), enlarged(2048 / 112, 50, 80)]
    assert boxes == [pytest.approx(box, rel=1e-4) for box in sorted([*at_1024, *others])]


def enlarged(times: float, at: float, side: float) -> tuple[float, ...]:
    """A box of a view in a picture so many times as large; the centre of a pixel stays its centre."""
    corner = (at + 0.5) * times - 0.5
    return (corner, corner, side * times, side * times)


@pytest.mark.parametrize("times", [2, 4])
def test_a_point_lies_in_the_middle_of_the_pixels_that_were_averaged(times: int) -> None:
    """A shift by half a pixel of the view would show."""
    picture = np.zeros((64 * times, 64 * times, 3), np.uint8)
    picture[20 * times : 21 * times, 30 * times : 31 * times] = 255

    def brightest(view: np.ndarray, _side: int) -> Detections:
        y, x = np.unravel_index(view[..., 0].argmax(), view.shape[:2])
        return Detections.from_rows(np.array([[0, 0, 60, 60, *([x, y] * 5), 0.9]], np.float32))

    (face,) = detect_multiscale(picture, (64,), brightest, 0.4, pixel_offset=CORNER)
    rows, columns = np.nonzero(picture[..., 0])
    np.testing.assert_allclose(face.landmarks, np.tile([columns.mean(), rows.mean()], (5, 1)))
