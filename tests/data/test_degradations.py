"""Degradations are what they are called, the same every time, and keep the picture's shape."""

from __future__ import annotations

import numpy as np
import pytest

from edgefr.data.degradations import PROTOCOLS, blur, degrade, low_resolution, noise, occlusion, random_degradation

RNG = np.random.default_rng(0)
FACE = RNG.integers(0, 256, (112, 112, 3), np.uint8)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_protocol_is_fixed_by_the_pictures_name(protocol: str) -> None:
    first, again = degrade(FACE, protocol, "a"), degrade(FACE, protocol, "a")
    assert first.shape == FACE.shape
    assert first.dtype == np.uint8
    assert np.array_equal(first, again)
    assert np.array_equal(first, FACE) == (protocol == "clean")


def test_another_name_gets_another_occlusion() -> None:
    assert not np.array_equal(degrade(FACE, "occlusion", "a"), degrade(FACE, "occlusion", "b"))


def test_the_training_degradation_is_seeded() -> None:
    first, again = (random_degradation(FACE, np.random.default_rng(7)) for _ in range(2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, FACE)


def test_low_resolution_removes_detail_finer_than_its_pixels() -> None:
    checker = np.indices((112, 112)).sum(0) % 2 * 255
    picture = np.repeat(checker[..., None], 3, 2).astype(np.uint8)
    assert low_resolution(picture, 20).std() < 10 < picture.std()


def test_low_resolution_follows_the_size_of_the_face_in_the_picture() -> None:
    """A face twice as large in a picture twice as large, at the same 28 pixels."""
    small = np.kron(RNG.integers(0, 256, (14, 14, 3)), np.ones((8, 8, 1))).astype(np.uint8)
    large = small.repeat(2, 0).repeat(2, 1)
    halved = low_resolution(large, 28, scale=2)[::2, ::2].astype(int)
    assert np.abs(halved - low_resolution(small, 28)).mean() < 12


def test_blur_noise_and_occlusion_do_what_they_say() -> None:
    grey = np.full((112, 112, 3), 128, np.uint8)
    assert blur(FACE, 3).std() < FACE.std() / 3
    assert noise(grey, 20, np.random.default_rng(0)).std() == pytest.approx(20, rel=0.05)
    covered = (occlusion(grey, 0.25, np.random.default_rng(0)) != grey).any(2).mean()
    assert covered == pytest.approx(0.25, abs=0.03)
