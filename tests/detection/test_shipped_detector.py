"""The shipped detector on photographs of scikit-image."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from edgefr.data.sample_faces import ASTRONAUT_LANDMARKS
from edgefr.detection.base import Detector
from edgefr.detection.detector_registry import open_detector
from edgefr.manifest import model_manifest
from edgefr.types import Image
from tests.conftest import REPOSITORY

ASSET = REPOSITORY / "edgefr/assets/spot.onnx"


@pytest.fixture(scope="module")
def spot() -> Detector:
    return open_detector(Path("spot"))


@pytest.fixture(scope="module")
def astronaut() -> Image:
    data = pytest.importorskip("skimage.data")
    picture: Image = data.astronaut()
    return picture


def error(found: np.ndarray, expected: np.ndarray) -> float:
    """Mean distance between landmarks as a share of the distance between the eyes."""
    return float(np.linalg.norm(found - expected, axis=1).mean() / np.linalg.norm(expected[0] - expected[1]))


def test_the_face_of_the_astronaut_is_found(spot: Detector, astronaut: Image) -> None:
    (face,) = spot.detect(astronaut)
    assert error(face.landmarks, ASTRONAUT_LANDMARKS) < 0.12
    corner, size = np.reshape(face.box, (2, 2))
    inside = (ASTRONAUT_LANDMARKS - corner) / size
    assert inside.min() > 0
    assert inside.max() < 1


def scaled(picture: Image, scale: float) -> Image:
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(picture, None, fx=scale, fy=scale, interpolation=how), np.uint8)


@pytest.mark.parametrize("scale", [0.5, 3, 9])
def test_a_face_of_45_to_800_pixels_is_found(spot: Detector, astronaut: Image, scale: float) -> None:
    (face,) = spot.detect(scaled(astronaut, scale))
    assert error(face.landmarks / scale, ASTRONAUT_LANDMARKS) < 0.15


def test_a_face_of_20_to_24_pixels_is_found(spot: Detector, astronaut: Image) -> None:
    """A pixel is a tenth of the distance between the eyes, so the grid matters: the error is a mean of five sizes."""
    errors = []
    for scale in (0.23, 0.24, 0.25, 0.26, 0.27):
        (face,) = spot.detect(scaled(astronaut, scale))
        errors.append(error(face.landmarks / scale, ASTRONAUT_LANDMARKS))
    assert np.mean(errors) < 0.15


@pytest.mark.parametrize("degrees", [-40, -20, 20, 40])
def test_a_rotated_face_is_found(spot: Detector, astronaut: Image, degrees: float) -> None:
    matrix = cv2.getRotationMatrix2D((220, 120), degrees, 1)
    (face,) = spot.detect(np.asarray(cv2.warpAffine(astronaut, matrix, (512, 512)), np.uint8))
    assert error(face.landmarks, ASTRONAUT_LANDMARKS @ matrix[:, :2].T + matrix[:, 2]) < 0.2


def test_left_is_the_viewers_left_in_a_mirrored_picture(spot: Detector, astronaut: Image) -> None:
    (face,) = spot.detect(np.ascontiguousarray(astronaut[:, ::-1]))
    mirrored = (ASTRONAUT_LANDMARKS * (-1, 1) + (511, 0))[[1, 0, 2, 4, 3]]
    assert error(face.landmarks, mirrored) < 0.12


@pytest.mark.parametrize("name", ["coffee", "rocket", "moon", "text"])
def test_no_face_is_found_in_a_picture_without_one(spot: Detector, name: str) -> None:
    picture = getattr(pytest.importorskip("skimage.data"), name)()
    picture = np.dstack([picture] * 3) if picture.ndim == 2 else picture
    assert len(spot.detect(np.ascontiguousarray(picture))) == 0


def test_the_file_is_small_and_its_manifest_names_the_training_data() -> None:
    assert ASSET.stat().st_size < 2_000_000
    manifest = model_manifest(ASSET)
    assert manifest is not None
    assert manifest.kind == "detector"
    assert "composites" in manifest.trained_on
    assert {"teacher", "checkpoint"} <= manifest.made_from.keys()
