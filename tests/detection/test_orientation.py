"""Turned photographs give the faces of the upright ones, at their place in the turned picture."""

from __future__ import annotations

import numpy as np
import pytest

from edgefr.detection.base import Detections, Detector
from edgefr.detection.detector_registry import open_detector
from edgefr.detection.multiscale import resize_longest_side
from edgefr.detection.orientation import UprightDetector, detect_turned, turned
from edgefr.recognition.alignment import align
from edgefr.recognition.verifier import Verifier
from edgefr.types import Image
from tests.detection.pictures import gradient

TURNS = (1, 2, 3)


@pytest.fixture(scope="module")
def astronaut() -> Image:
    data = pytest.importorskip("skimage.data")
    picture: Image = data.astronaut()
    return picture


@pytest.fixture(scope="module")
def verifier() -> Verifier:
    return Verifier.open()


class BrightCorner:
    """Finds a face around the brightest pixel, with the score of the brightest blue one."""

    name = "bright"
    file = "none"
    upright_score = 0.9

    def __init__(self) -> None:
        self.calls = 0

    def detect(self, image: Image) -> Detections:
        self.calls += 1
        return self.detect_once(image)

    def detect_once(self, image: Image) -> Detections:
        y, x = np.unravel_index(image[..., 0].argmax(), image.shape[:2])
        points = [(x + dx, y + dy) for dx, dy in ((-2, -2), (2, -2), (0, 0), (-2, 2), (2, 2))]
        return Detections.from_rows(
            np.array([[x - 4, y - 6, 8, 12, *np.ravel(points), image[..., 2].max() / 255]], np.float32)
        )


@pytest.mark.parametrize("turns", TURNS)
def test_points_of_a_turned_copy_come_back_to_their_pixels(turns: int) -> None:
    image = np.zeros((60, 90, 3), np.uint8)
    image[20, 70, 0] = 255
    (face,) = detect_turned(BrightCorner(), image, turns)  # type: ignore[arg-type]
    np.testing.assert_allclose(face.landmarks[2], (70, 20))
    x, y, width, height = face.box
    assert (width, height) == ((12, 8) if turns % 2 else (8, 12))
    assert x <= 70 <= x + width
    assert y <= 20 <= y + height


@pytest.mark.parametrize("turns", TURNS)
def test_a_turned_photograph_gives_the_same_face(verifier: Verifier, astronaut: Image, turns: int) -> None:
    upright = verifier.find_in(astronaut, "upright")
    found = verifier.find_in(turned(astronaut, turns), "turned")
    first, second = verifier.embed([upright, found])
    assert first.embedding @ second.embedding > 0.95
    height, width = astronaut.shape[:2]
    x, y = upright.face.landmarks.T
    expected = {1: (y, width - 1 - x), 2: (width - 1 - x, height - 1 - y), 3: (height - 1 - y, x)}[turns]
    eyes = np.linalg.norm(upright.face.landmarks[0] - upright.face.landmarks[1])
    assert np.abs(found.face.landmarks - np.stack(expected, 1)).max() < 0.15 * eyes


@pytest.mark.parametrize("turns", TURNS)
def test_two_people_do_not_become_alike_when_their_photographs_are_turned(
    verifier: Verifier, astronaut: Image, turns: int
) -> None:
    cv2 = pytest.importorskip("cv2")
    matplotlib = pytest.importorskip("matplotlib.cbook")
    hopper = cv2.imread(str(matplotlib.get_sample_data("grace_hopper.jpg", asfileobj=False)))[..., ::-1]
    pictures = [np.ascontiguousarray(hopper), astronaut]
    upright = verifier.decide(*(verifier.find_in(picture, "upright") for picture in pictures))
    result = verifier.decide(*(verifier.find_in(turned(picture, turns), "turned") for picture in pictures))
    assert not result.same
    assert result.similarity == pytest.approx(upright.similarity, abs=0.1)


def test_the_detector_alone_is_misled_by_a_photograph_upside_down(astronaut: Image) -> None:
    """Why orientations are checked: the crop that this face gives is upside down."""
    detector = open_detector(None)
    assert isinstance(detector, UprightDetector)
    upside_down = turned(astronaut, 2)
    (found,) = detector.as_is.detect(upside_down)[:1]
    (right,) = detector.detect(upside_down)[:1]
    assert np.abs(found.landmarks - right.landmarks).max() > 0.5 * np.linalg.norm(
        right.landmarks[0] - right.landmarks[1]
    )
    difference = align(astronaut, detector.detect(astronaut)[0].landmarks).astype(float) - align(
        upside_down, right.landmarks
    )
    assert np.abs(difference).mean() < 8


def test_a_picture_with_a_sure_face_is_searched_once() -> None:
    detector = BrightCorner()
    image = gradient(80, 120)
    image[..., 2] = 250
    UprightDetector(detector).detect(image)  # type: ignore[arg-type]
    assert detector.calls == 1


def test_a_small_turned_face_in_a_large_picture_is_found(verifier: Verifier, astronaut: Image) -> None:
    picture = np.full((900, 1400, 3), 110, np.uint8)
    small = resize_longest_side(turned(astronaut, 3), 300)
    picture[500 : 500 + small.shape[0], 200 : 200 + small.shape[1]] = small
    found, upright = verifier.find_in(picture, "small"), verifier.find_in(astronaut, "upright")
    first, second = verifier.embed([found, upright])
    assert first.embedding @ second.embedding > 0.8


def test_pictures_without_a_face_stay_without(astronaut: Image) -> None:
    detector: Detector = open_detector(None)
    assert len(detector.detect(gradient(300, 200))) == 0
    noise = np.random.default_rng(3).integers(0, 256, (240, 320, 3), np.uint8)
    assert len(detector.detect(noise)) == 0
