"""Small faces of large pictures are found in tiles, and pictures whose face is found as a whole cost nothing more."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from edgefr.detection.base import Detections, Face, select_face, smallest_face
from edgefr.detection.detector_registry import open_detector
from edgefr.detection.orientation import UprightDetector
from edgefr.detection.tiles import TILE, detect_in_tiles
from edgefr.errors import NoFaceError
from edgefr.types import Image

MARK = 255


class MarkDetector:
    """Finds a face in a bright square of a view, if it has at least 20 pixels and the view at most 1024."""

    name, file, upright_score = "mark", "", 0.9

    def __init__(self) -> None:
        self.views: list[tuple[int, ...]] = []

    def detect(self, image: Image) -> Detections:
        side = max(image.shape[:2])
        small = cv2.resize(image, None, fx=TILE / side, fy=TILE / side, interpolation=cv2.INTER_AREA)
        return self._find(np.asarray(small, np.uint8)).scaled((side / TILE, side / TILE))

    def detect_once(self, image: Image) -> Detections:
        assert max(image.shape[:2]) <= TILE
        return self._find(image)

    def _find(self, view: Image) -> Detections:
        self.views.append(view.shape)
        count, _, stats, _ = cv2.connectedComponentsWithStats((view[..., 0] > 200).astype(np.uint8))
        found = []
        for x, y, width, height, _ in stats[1:count]:
            if min(width, height) >= 20:
                landmarks = np.tile(np.float32([x + (width - 1) / 2, y + (height - 1) / 2]), (5, 1))
                found.append(Face((float(x), float(y), float(width), float(height)), landmarks, 0.9))
        return Detections.from_faces(found)


def picture(height: int, width: int, *squares: tuple[int, int, int]) -> Image:
    image = np.zeros((height, width, 3), np.uint8)
    for x, y, side in squares:
        image[y : y + side, x : x + side] = MARK
    return image


@pytest.mark.parametrize("at", [(40, 30), (3500, 2750), (1495, 765), (1530, 1500)])
def test_a_face_of_50_pixels_in_12_megapixels_is_found_where_it_is(at: tuple[int, int]) -> None:
    """Everywhere, also where tiles meet."""
    detector = MarkDetector()
    image = picture(3000, 4000, (*at, 50))
    assert len(detector.detect(image)) == 0
    (face,) = UprightDetector(detector).detect(image)
    assert face.box == pytest.approx((*at, 50, 50), abs=5)
    np.testing.assert_allclose(face.landmarks, np.tile(np.array(at) + 24.5, (5, 1)), atol=2)


def test_smaller_faces_are_found_down_to_the_size_that_the_error_names() -> None:
    assert smallest_face(8000) == 40
    assert smallest_face(4096) == smallest_face(500) == 20
    detector = MarkDetector()
    faces = detect_in_tiles(detector, picture(3000, 4000, (100, 2000, 21), (3500, 100, 24)))
    assert sorted(face.box[0] for face in faces) == [100, 3500]
    assert len(detect_in_tiles(detector, picture(3000, 4000, (100, 2000, 12)))) == 0


def test_the_error_of_a_large_picture_names_the_smallest_face_that_would_have_been_found() -> None:
    with pytest.raises(NoFaceError, match="turned to the camera and at least 40 pixels wide"):
        select_face([], (6000, 8000), "largest", "a.jpg")
    with pytest.raises(NoFaceError, match="at least 20 pixels wide"):
        select_face([], (600, 800), "largest", "a.jpg")


def test_a_picture_whose_face_is_found_as_a_whole_is_not_searched_in_tiles() -> None:
    detector = MarkDetector()
    detector.upright_score = 0.8
    assert len(UprightDetector(detector).detect(picture(3000, 4000, (100, 100, 400), (3000, 2000, 40)))) == 1
    assert len(detector.views) == 1


@pytest.mark.parametrize("size", [(800, 1000), (1200, 1024)])
def test_a_picture_that_is_hardly_larger_than_a_view_is_searched_once(size: tuple[int, int]) -> None:
    detector = MarkDetector()
    assert len(detect_in_tiles(detector, picture(*size))) == 0
    assert detector.views == []


def test_every_pixel_lies_in_a_tile_and_the_number_of_tiles_is_bounded() -> None:
    for size in ((3000, 4000), (1300, 1300), (200, 30_000), (4100, 4100)):
        detector = MarkDetector()
        assert len(detect_in_tiles(detector, picture(*size))) == 0
        assert len(detector.views) <= 34


def test_the_astronaut_in_48_megapixels_is_found() -> None:
    """Too small for a view of the whole picture: 9 pixels of 1024."""
    astronaut = pytest.importorskip("skimage.data").astronaut()
    image = np.full((6000, 8000, 3), 90, np.uint8)
    image[3000:3400, 5000:5400] = cv2.resize(astronaut, (400, 400), interpolation=cv2.INTER_AREA)
    detector = open_detector(Path("spot"))
    assert isinstance(detector, UprightDetector)
    assert len(detector.as_is.detect(image)) == 0
    (face,) = detector.detect(image)
    x, y, width, height = face.box
    assert (x + width / 2, y + height / 2) == pytest.approx((5172, 3093), abs=15)
