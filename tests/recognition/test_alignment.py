from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from edgefr.errors import NoFaceError
from edgefr.recognition.alignment import align, similarity_transform
from edgefr.types import TEMPLATE
from tests.detection.pictures import gradient


def applied(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    return points @ matrix[:, :2].T + matrix[:, 2]


def similarity(scale: float, angle: float, x: float, y: float) -> np.ndarray:
    c, s = scale * np.cos(angle), scale * np.sin(angle)
    return np.array([[c, -s, x], [s, c, y]])


SHIFTS = st.floats(-2000, 2000)


@settings(deadline=None)
@given(st.floats(0.05, 40), st.floats(-np.pi, np.pi), SHIFTS, SHIFTS)
def test_a_known_transform_is_recovered(scale: float, angle: float, x: float, y: float) -> None:
    known = similarity(scale, angle, x, y)
    found = similarity_transform(applied(known, TEMPLATE.astype(np.float64)), TEMPLATE)
    assert found.dtype == np.float64
    assert np.allclose(applied(found, applied(known, TEMPLATE)), TEMPLATE, atol=1e-4)


@settings(deadline=None)
@given(arrays(np.float32, (5, 2), elements=st.floats(-20, 20, width=32)))
def test_the_transform_is_the_least_squares_fit_of_scikit_image(noise: np.ndarray) -> None:
    transform = pytest.importorskip("skimage.transform")
    landmarks = 3 * TEMPLATE + 100 + noise
    expected = transform.SimilarityTransform.from_estimate(landmarks, TEMPLATE).params[:2]
    assert np.allclose(similarity_transform(landmarks, TEMPLATE), expected, atol=1e-5)


def test_a_mirrored_face_is_not_mirrored_back() -> None:
    mirrored = TEMPLATE * (-1, 1) + (112, 0)
    assert np.linalg.det(similarity_transform(mirrored, TEMPLATE)[:, :2]) > 0


@pytest.mark.parametrize(
    "landmarks",
    [
        np.full((5, 2), 50),
        np.full((5, 2), np.nan),
        np.where(TEMPLATE > 92.3, np.nan, TEMPLATE),
        TEMPLATE * np.inf,
        TEMPLATE * 1e30,
        np.array([[0, 0], [1e-4, 0], [0, 0], [0, 1e-4], [0, 0]]),
    ],
)
def test_impossible_landmarks_are_rejected(landmarks: np.ndarray) -> None:
    with pytest.raises(NoFaceError, match="expected five landmarks of a face, found"):
        align(gradient(200, 200), landmarks.astype(np.float32))


def test_a_face_on_the_template_is_cut_out_unchanged() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (200, 300, 3), dtype=np.uint8)
    assert np.array_equal(align(picture, TEMPLATE + np.float32([40, 30])), picture[30:142, 40:152])


@settings(deadline=None)
@given(st.floats(0.3, 1.99), st.floats(-0.5, 0.5))
def test_an_ordinary_face_gets_the_plain_warp(scale: float, angle: float) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (260, 250, 3), dtype=np.uint8)
    landmarks = applied(similarity(scale, angle, 20, 10), TEMPLATE)
    plain = cv2.warpAffine(picture, similarity_transform(landmarks, TEMPLATE), (112, 112))
    assert np.array_equal(align(picture, landmarks), plain)


@pytest.mark.parametrize("scale", [2.0, 3.7, 9.0, 20.5])
def test_a_large_face_is_averaged_not_sampled(scale: float) -> None:
    """Fine noise around a slow change: the mean survives, the noise does not, and nothing moves."""
    side = int(122 * scale)
    y, x = np.mgrid[:side, :side] / scale
    clean = 128 + 50 * np.sin(x / 12) * np.cos(y / 9)
    noise = np.random.default_rng(0).normal(0, 40, (side, side))
    picture = np.repeat(np.clip(clean + noise, 0, 255).astype(np.uint8)[..., None], 3, 2)
    landmarks = ((TEMPLATE + 0.5 + 5) * scale - 0.5).astype(np.float32)
    # Output pixel p covers the photograph around (p + 5 + 0.5) * scale - 0.5.
    row, column = (np.mgrid[:112, :112] + 5.5) - 0.5 / scale
    expected = 128 + 50 * np.sin(column / 12) * np.cos(row / 9)
    error = align(picture, landmarks)[..., 0] - expected
    assert error.std() < 1.3 * 40 / int(scale)
    assert abs(error.mean()) < 2


def test_a_shrunk_face_does_not_move() -> None:
    scale = 8
    side = 130 * scale
    y, x = np.mgrid[:side, :side]
    ramp = ((x + 0.5) / scale + (y + 0.5) / scale).astype(np.float32)  # in units of aligned pixels
    picture = np.repeat((ramp * 0.9).astype(np.uint8)[..., None], 3, 2)
    found = align(picture, ((TEMPLATE + 0.5) * scale - 0.5).astype(np.float32))[..., 0]
    row, column = np.mgrid[:112, :112]
    assert np.abs(found - (row + column + 1) * 0.9).max() < 1.5  # half a pixel would be 0.9 on average
    assert abs((found - (row + column + 1) * 0.9).mean() + 0.5) < 0.2  # the picture was rounded down


def test_pixels_outside_the_photograph_are_black() -> None:
    found = align(np.full((112, 112, 3), 255, np.uint8), TEMPLATE - (50, 0))
    assert (found[:, :49] == 0).all()
    assert (found[:, 51:] == 255).all()


def test_a_face_far_larger_than_the_photograph_is_aligned() -> None:
    assert align(gradient(16, 400), (TEMPLATE - 56) * 1000).shape == (112, 112, 3)
