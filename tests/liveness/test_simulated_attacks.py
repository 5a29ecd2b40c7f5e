"""Simulated attacks: faces that are still found, on something that is not a face."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("skimage")

from skimage import data

from edgefr.detection.detector_registry import open_detector
from edgefr.liveness.simulated_attacks import INSTRUMENTS, MAX_SIDE, Instrument, simulate_attack
from edgefr.models import SPOT, shipped_model

DETECTOR = open_detector(shipped_model(SPOT))
PHOTO = data.astronaut()
FACE = DETECTOR.detect(PHOTO)[0]


@pytest.mark.parametrize("instrument", INSTRUMENTS)
@pytest.mark.parametrize("seed", range(3))
def test_the_face_is_still_found_and_smaller_in_its_picture(instrument: Instrument, seed: int) -> None:
    picture = simulate_attack(PHOTO, FACE, instrument, np.random.default_rng(seed))
    assert max(picture.shape) <= MAX_SIDE
    (face,) = DETECTOR.detect(picture)
    assert face.score > 0.6
    assert 0.15 < face.box[2] / picture.shape[1] < 0.35, "the sheet takes two thirds of the picture, the face less"
    again = simulate_attack(PHOTO, FACE, instrument, np.random.default_rng(seed))
    assert np.array_equal(picture, again)


def test_paper_has_no_black_and_a_screen_has_a_dark_frame() -> None:
    sheets = {name: simulate_attack(PHOTO, FACE, name, np.random.default_rng(1)).astype(int) for name in INSTRUMENTS}
    for name, (low, high) in {"print": (200, 256), "screen": (0, 60)}.items():
        picture = sheets[name]
        row = picture[picture.shape[0] // 2].mean(1)
        edge = row[round(len(row) * 0.15) : round(len(row) * 0.25)]
        assert ((edge >= low) & (edge < high)).any(), name
