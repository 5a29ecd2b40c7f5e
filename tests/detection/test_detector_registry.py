"""Opening detectors, decoding SCRFD, and selecting one face of several."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgefr.detection import detector_registry
from edgefr.detection.base import Detections, Face, select_face
from edgefr.detection.detector_registry import open_detector
from edgefr.detection.orientation import UprightDetector
from edgefr.errors import EdgefrError, NoFaceError, SeveralFacesError, WrongModelError
from edgefr.recognition.recogniser import Recogniser
from edgefr.recognition.verifier import Verifier
from edgefr.runtimes.fake import FakeBackend
from edgefr.types import TEMPLATE, Image
from tests.detection.models import model_bytes, write_constant_detector
from tests.detection.pictures import gradient


def face(x: float, y: float, width: float, height: float, score: float) -> Face:
    return Face((x, y, width, height), TEMPLATE, score)


SMALL_IN_THE_MIDDLE, LARGE_AT_THE_EDGE = face(90, 40, 20, 20, 0.95), face(0, 0, 60, 80, 0.8)
BOTH = [SMALL_IN_THE_MIDDLE, LARGE_AT_THE_EDGE]
SHAPE = (100, 200)


def test_each_policy_selects_another_face() -> None:
    assert select_face(BOTH, SHAPE, "largest", "a.jpg") is LARGE_AT_THE_EDGE
    assert select_face(BOTH, SHAPE, "centre", "a.jpg") is SMALL_IN_THE_MIDDLE
    assert select_face(BOTH[:1], SHAPE, "only", "a.jpg") is SMALL_IN_THE_MIDDLE


def test_an_uncertain_detection_as_large_as_the_head_is_not_the_largest_face() -> None:
    lake, head = face(0, 16, 43, 66, 0.48), face(43, 17, 45, 60, 0.95)
    assert select_face([head, lake], SHAPE, "largest", "a.jpg") is head


def test_the_best_score_is_selected_among_equals() -> None:
    twins = [face(10, 10, 50, 50, 0.7), face(140, 40, 50, 50, 0.9)]
    assert select_face(twins, SHAPE, "largest", "a.jpg").score == 0.9


def test_no_face_or_several_are_errors_that_name_the_photograph() -> None:
    with pytest.raises(NoFaceError, match=r"a face in a\.jpg, found none"):
        select_face([], SHAPE, "largest", "a.jpg")
    with pytest.raises(SeveralFacesError, match=r"one face in a\.jpg, found 2"):
        select_face(BOTH, SHAPE, "only", "a.jpg")


def scrfd_outputs(side: int, anchors: int = 2, batched: bool = False) -> list[np.ndarray]:
    """Nine outputs without a face, in the order of insightface."""
    rows = [(side // stride) ** 2 * anchors for stride in (8, 16, 32)]
    outputs = [np.zeros((n, width), np.float32) for width in (1, 4, 10) for n in rows]
    return [output[None] for output in outputs] if batched else outputs


@pytest.mark.parametrize("anchors", [1, 2])
@pytest.mark.parametrize("batched", [False, True])
def test_scrfd_gives_faces_in_pixels_of_the_photograph(tmp_path: Path, anchors: int, batched: bool) -> None:
    pytest.importorskip("onnx")
    outputs = scrfd_outputs(160, anchors, batched)
    scores, boxes, points = (output.reshape(-1, output.shape[-1]) for output in outputs[1::3])  # stride 16
    index = (3 * 10 + 4) * anchors  # row 3, column 4 of 160 / 16 places: grid point x 64, y 48
    scores[index] = 0.9
    boxes[index] = 0.5, 0.25, 0.5, 0.75  # left, top, right, bottom in strides
    points[index] = np.arange(10) / 16
    write_constant_detector(tmp_path / "scrfd.onnx", 160, outputs)

    detector = open_detector(tmp_path / "scrfd.onnx")
    assert detector.name == "scrfd"
    (found,) = detector.detect(gradient(160, 320))  # the view has half its size
    assert found.box == pytest.approx((112, 88, 32, 32))
    assert found.landmarks == pytest.approx(np.arange(10).reshape(5, 2) * 2 + np.array([128, 96]))
    assert found.landmarks.dtype == np.float32
    assert found.score == pytest.approx(0.9)


def test_scrfd_keeps_the_best_of_overlapping_boxes_and_sorts_by_score(tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    outputs = scrfd_outputs(160)
    scores, boxes = outputs[0], outputs[3]  # stride 8
    for index, score in ((2 * (5 * 20 + 5), 0.6), (2 * (5 * 20 + 6), 0.8), (2 * (15 * 20 + 15), 0.7), (0, 0.4)):
        scores[index], boxes[index] = score, 1.5
    write_constant_detector(tmp_path / "scrfd.onnx", 160, outputs)
    found = open_detector(tmp_path / "scrfd.onnx").detect(gradient(160, 160))
    assert [face.score for face in found] == pytest.approx([0.8, 0.7])
    assert found[0].box == pytest.approx((36, 28, 24, 24))


def test_scrfd_with_a_wrong_number_of_anchors_is_rejected(tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    write_constant_detector(tmp_path / "scrfd.onnx", 160, [part[:-1] for part in scrfd_outputs(160)])
    with pytest.raises(WrongModelError, match="found 799 scores for 20 x 20 grid points"):
        open_detector(tmp_path / "scrfd.onnx").detect(gradient(160, 160))


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        ({str(n): (None, width) for n, width in enumerate((1, 1, 1, 4, 4, 4))}, "without landmarks"),
        ({"embedding": (None, 512)}, "found a network with 1 other outputs"),
        ({str(n): (1, 2, 80, 80) for n in range(9)}, "found a network with 9 other outputs"),
    ],
)
def test_another_network_is_rejected(tmp_path: Path, outputs: dict[str, tuple[int | None, ...]], message: str) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(model_bytes(outputs))
    with pytest.raises(WrongModelError, match=message):
        open_detector(path)


def test_a_damaged_yunet_is_rejected(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "yunet.onnx"
    names = [f"{part}_{stride}" for part in ("cls", "obj", "bbox", "kps") for stride in (8, 16, 32)]
    path.write_bytes(model_bytes(dict.fromkeys(names, (1, 100, 1))))
    with pytest.raises(WrongModelError, match="YuNet detector"):
        open_detector(path).detect(gradient(100, 100))
    assert capfd.readouterr().err == ""


@pytest.fixture
def no_detector_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's folder of data, which is empty."""
    monkeypatch.delenv("EDGEFR_DETECTOR", raising=False)
    monkeypatch.setattr("platformdirs.user_data_dir", lambda name: str(tmp_path / name))
    return tmp_path / "edgefr"


def test_the_shipped_detector_is_the_default(no_detector_installed: Path) -> None:
    assert open_detector(None).name == "spot"


def test_the_variable_comes_before_the_folder_of_detectors(
    no_detector_installed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("onnx")
    (no_detector_installed / "detectors").mkdir(parents=True)
    write_constant_detector(no_detector_installed / "detectors" / "scrfd.onnx", 64, scrfd_outputs(64))
    assert open_detector(None).name == "scrfd"
    monkeypatch.setenv("EDGEFR_DETECTOR", str(tmp_path / "elsewhere.onnx"))
    with pytest.raises(EdgefrError, match=r"elsewhere\.onnx"):
        open_detector(None)


class WholePicture:
    """A detector as a user could add it: one class that finds a face as large as the picture."""

    name = "whole-picture"
    file = "a graph with the output 'whole'"
    upright_score = 0.5

    @staticmethod
    def accepts(outputs: dict[str, int | None]) -> bool:
        return outputs == {"whole": 1}

    def __init__(self, path: Path, threads: int | None = None) -> None:
        self.threads = threads

    def detect(self, image: Image) -> Detections:
        height, width = image.shape[:2]
        landmarks = (TEMPLATE + 0.5) * np.float32([width, height]) / 112 - 0.5
        return Detections.from_faces([Face((0, 0, width, height), landmarks, 1.0)])

    detect_once = detect


def test_a_new_detector_is_one_class_and_one_entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "whole.onnx"
    path.write_bytes(model_bytes({"whole": (None, 1)}))
    with pytest.raises(WrongModelError, match="found a network with 1 other outputs"):
        open_detector(path)
    monkeypatch.setattr(detector_registry, "DETECTORS", (*detector_registry.DETECTORS, WholePicture))
    detector = open_detector(path, threads=2)
    assert isinstance(detector, UprightDetector)
    assert isinstance(detector.as_is, WholePicture)
    assert detector.as_is.threads == 2
    crop = Verifier(detector, Recogniser(FakeBackend(), "fake")).find_in(gradient(224, 224), "a picture").crop
    assert np.abs(crop.astype(int) - gradient(112, 112))[1:-1, 1:-1].max() < 4
    other = tmp_path / "other.onnx"
    other.write_bytes(model_bytes({"embedding": (None, 512)}))
    with pytest.raises(WrongModelError, match=r"Use spot, .*, or a graph with the output 'whole'\."):
        open_detector(other)
