"""Sharpness follows its formula and decreases with blur."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from edgefr.data.degradations import blur, low_resolution
from edgefr.recognition.quality import sharpness
from edgefr.types import Image


def face() -> Image:
    """Edges at every scale, as a face has."""
    rng = np.random.default_rng(0)
    coarse = [cv2.resize(rng.random((n, n, 3)), (112, 112), interpolation=cv2.INTER_CUBIC) for n in (4, 16, 56)]
    return np.clip(255 * np.mean(coarse, 0), 0, 255).astype(np.uint8)


def test_sharpness_is_the_variance_of_the_laplacian_of_luminance() -> None:
    grey = np.rint(face() @ [0.299, 0.587, 0.114])
    inside = grey[1:-1, 1:-1]
    around = grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:]
    assert sharpness(face()) == pytest.approx(np.log10(1 + (around - 4 * inside).var()), abs=0.02)


def test_green_counts_most_and_blue_least() -> None:
    """RGB, not BGR: the weights of luminance are 0.299, 0.587 and 0.114."""
    stripes = np.where(np.arange(112) // 8 % 2, 200, 0).astype(np.uint8)
    red, green, blue = (np.zeros((112, 112, 3), np.uint8) for _ in range(3))
    for channel, picture in enumerate((red, green, blue)):
        picture[..., channel] = stripes
    assert sharpness(green) > sharpness(red) > sharpness(blue) > 0


def test_sharpness_decreases_with_blur_and_with_lower_resolution() -> None:
    blurred = [sharpness(face())] + [sharpness(blur(face(), sigma)) for sigma in (0.5, 1, 2, 4)]
    assert all(np.diff(blurred) < -0.1)
    small = [sharpness(low_resolution(face(), size)) for size in (56, 28, 14)]
    assert all(np.diff([blurred[0], *small]) < -0.1)


def test_a_picture_of_one_colour_has_a_sharpness_of_zero() -> None:
    assert sharpness(np.full((112, 112, 3), 77, np.uint8)) == 0


def test_noise_counts_as_detail() -> None:
    """The weakness that the docstring of `sharpness` names."""
    noise = np.random.default_rng(0).normal(0, 20, (112, 112, 3))
    noisy = np.clip(blur(face(), 3) + noise, 0, 255).astype(np.uint8)
    assert sharpness(noisy) > sharpness(face())
