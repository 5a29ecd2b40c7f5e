"""YuNet, SCRFD and the alignment on real photographs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image as Pillow

from edgefr.detection.base import Detector, select_face
from edgefr.detection.detector_registry import open_detector
from edgefr.detection.geometry import box_iou
from edgefr.errors import WrongModelError
from edgefr.io.photo import read_photograph
from edgefr.recognition.alignment import align
from edgefr.types import TEMPLATE, Image

pytestmark = pytest.mark.shared

YUNET, SCRFD = "face_detection_yunet_2023mar.onnx", "scrfd_2.5g_bnkps.onnx"
COUNTS = {
    "astronaut.png": 1,
    "biden.jpg": 1,
    "biden2.jpg": 1,
    "obama.jpg": 1,
    "obama1.jpg": 1,
    "obama2.jpg": 1,
    "obama3.jpg": 1,
    "obama_and_biden.jpg": 3,  # a child stands at the right edge
}


@pytest.fixture(scope="module")
def detectors(shared: Path) -> list[Detector]:
    return [open_detector(shared / "detectors" / name) for name in (YUNET, SCRFD)]


@pytest.fixture(scope="module", params=[YUNET, SCRFD])
def detector(shared: Path, request: pytest.FixtureRequest) -> Detector:
    return open_detector(shared / "detectors" / request.param)


def distance(found: np.ndarray, expected: np.ndarray) -> float:
    """Mean distance between landmarks as a share of the distance between the eyes."""
    eyes = np.linalg.norm(expected[0] - expected[1])
    return float(np.linalg.norm(found - expected, axis=1).mean() / eyes)


@pytest.mark.parametrize("name", COUNTS)
def test_detectors_agree_on_every_photograph(shared: Path, detectors: list[Detector], name: str) -> None:
    photo = read_photograph(shared / "photos" / name)
    first, second = (detector.detect(photo) for detector in detectors)
    assert len(first) == len(second) == COUNTS[name]
    overlaps = box_iou(first.boxes, second.boxes)
    assert (overlaps.max(1) > 0.65).all()
    for face, partner in zip(first, second.take(overlaps.argmax(1)), strict=True):
        assert distance(face.landmarks, partner.landmarks) < 0.2
    # Each detector has an error of about 0.1; a wrong grid, stride or order would cause a far larger one.
    for faces in (first, second):
        scores = [face.score for face in faces]
        assert scores == sorted(scores, reverse=True)


def test_the_int8_file_of_yunet_works(shared: Path) -> None:
    detector = open_detector(shared / "detectors" / "face_detection_yunet_2023mar_int8bq.onnx")
    assert detector.name == "yunet"
    assert len(detector.detect(read_photograph(shared / "photos" / "obama.jpg"))) == 1


def test_a_photograph_of_6000_pixels_gives_the_same_face(shared: Path, detector: Detector) -> None:
    photo = read_photograph(shared / "photos" / "obama.jpg")
    scale = 6000 / max(photo.shape)
    (expected,), (found,) = detector.detect(photo), detector.detect(cv2.resize(photo, None, fx=scale, fy=scale))
    assert distance(found.landmarks / scale, expected.landmarks) < 0.05


def test_a_photograph_turned_by_exif_gives_the_same_face(shared: Path, detector: Detector, tmp_path: Path) -> None:
    photo = read_photograph(shared / "photos" / "obama.jpg")
    exif = Pillow.Exif()
    exif[0x0112] = 6
    turned = Pillow.fromarray(photo).transpose(Pillow.Transpose.ROTATE_90)
    turned.save(tmp_path / "turned.jpg", exif=exif, quality=95)
    (expected,), (found,) = detector.detect(photo), detector.detect(read_photograph(tmp_path / "turned.jpg"))
    assert distance(found.landmarks, expected.landmarks) < 0.05


@pytest.mark.parametrize("name", ["obama.jpg", "biden2.jpg", "obama1.jpg"])
def test_a_face_that_fills_a_large_photograph_is_found(shared: Path, detector: Detector, name: str) -> None:
    photo = read_photograph(shared / "photos" / name)
    x, y, width, height = (int(value) for value in detector.detect(photo)[0].box)
    close = cv2.resize(photo[y : y + height, x : x + width], (1500, 1500 * height // width))
    (found,) = detector.detect(close)
    assert found.box[2] * found.box[3] > 0.7 * close.shape[0] * close.shape[1]


def test_small_faces_in_a_group_are_found(shared: Path, detector: Detector) -> None:
    photo = read_photograph(shared / "photos" / "obama.jpg")
    sample = cv2.resize(photo[:700, 150:850], (250, 250), interpolation=cv2.INTER_AREA)  # a face of 81 pixels
    group = np.tile(sample, (10, 16, 1))  # 4000 pixels wide
    cells = {
        (int((face.box[0] + face.box[2] / 2) // 250), int((face.box[1] + face.box[3] / 2) // 250))
        for face in detector.detect(group)
    }
    assert len(cells) > 0.95 * 160


@pytest.mark.parametrize("shape", [(16, 16), (16, 3000), (3000, 16), (700, 1025)])
def test_pictures_without_a_face_give_none(detector: Detector, shape: tuple[int, int]) -> None:
    assert len(detector.detect(np.full((*shape, 3), 90, np.uint8))) == 0


def test_the_detector_does_not_change_the_photograph(shared: Path, detector: Detector) -> None:
    photo = read_photograph(shared / "photos" / "obama1.jpg")
    before = photo.copy()
    detector.detect(photo)
    assert np.array_equal(photo, before)


@pytest.mark.parametrize("name", COUNTS)
def test_the_landmarks_of_an_aligned_face_lie_on_the_template(shared: Path, detector: Detector, name: str) -> None:
    photo = read_photograph(shared / "photos" / name)
    aligned = align(photo, select_face(detector.detect(photo), photo.shape[:2], "largest", name).landmarks)
    border = cv2.copyMakeBorder(aligned, 56, 56, 56, 56, cv2.BORDER_REPLICATE)
    again: Image = cv2.resize(border, None, fx=2, fy=2)
    found = select_face(detector.detect(again), again.shape[:2], "centre", name).landmarks / 2 - 56
    assert distance(found, TEMPLATE) < 0.2


def test_yunet_needs_no_onnxruntime_and_opencv_prints_nothing(shared: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from edgefr.detection.detector_registry import open_detector\n"
        "from edgefr.io.photo import read_photograph\n"
        "faces = open_detector(Path(sys.argv[1])).detect(read_photograph(Path(sys.argv[2])))\n"
        "heavy = {'onnxruntime', 'openvino', 'torch', 'onnx', 'PIL'} & set(sys.modules)\n"
        "print(len(faces), heavy or 'light')\n"
    )
    files = shared / "detectors" / YUNET, shared / "photos" / "obama.jpg"
    done = subprocess.run([sys.executable, "-c", script, *map(str, files)], capture_output=True, text=True)
    assert (done.stdout, done.stderr, done.returncode) == ("1 light\n", "", 0)


def test_a_real_recogniser_is_rejected_as_a_detector(shared: Path) -> None:
    with pytest.raises(WrongModelError, match="as a recogniser has"):
        open_detector(shared / "weights" / "arcface-mobilefacenet" / "reference-batch1.onnx")


@pytest.mark.parametrize("side", [112, 250, 384, 385, 640])
def test_a_face_that_fills_a_small_photograph_is_found(shared: Path, detector: Detector, side: int) -> None:
    photo = read_photograph(shared / "photos" / "obama.jpg")
    x, y, width, height = (int(value) for value in detector.detect(photo)[0].box)
    close = cv2.resize(photo[y : y + height, x : x + width], (side * width // height, side))
    (found,) = detector.detect(close)
    assert found.box[2] * found.box[3] > 0.7 * close.shape[0] * close.shape[1]


@pytest.mark.parametrize("side", [320, 384])
def test_small_faces_in_a_small_group_are_found(shared: Path, detector: Detector, side: int) -> None:
    photo = read_photograph(shared / "photos" / "obama.jpg")
    sample = cv2.resize(photo[:700, 150:850], (side // 5, side // 5), interpolation=cv2.INTER_AREA)  # 20 to 25 pixels
    assert len(detector.detect(np.tile(sample, (5, 5, 1)))) >= 24
