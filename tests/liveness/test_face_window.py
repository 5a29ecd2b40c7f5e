"""The window around a face: its size, its place, and what happens at the edge of a picture."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgefr.liveness.face_window import face_window


def coordinates(height: int, width: int) -> np.ndarray:
    """A picture whose first channel is x and whose second is y."""
    y, x = np.mgrid[:height, :width]
    return np.stack([x, y, 0 * x], 2).astype(np.uint8)


def span(window: np.ndarray, channel: int) -> tuple[int, int]:
    return int(window[..., channel].min()), int(window[..., channel].max())


def test_a_window_is_a_multiple_of_the_box_around_its_middle() -> None:
    window = face_window(coordinates(200, 200), (90, 80, 20, 30), 3.0, 60)
    assert window.shape == (60, 60, 3)
    assert span(window, 0) == pytest.approx((70, 130), abs=1)
    assert span(window, 1) == pytest.approx((50, 140), abs=1)


def test_a_window_is_moved_into_the_picture() -> None:
    window = face_window(coordinates(200, 200), (0, 170, 20, 30), 3.0, 60)
    assert span(window, 0) == pytest.approx((0, 60), abs=1)
    assert span(window, 1) == pytest.approx((109, 199), abs=1)


def test_a_window_larger_than_the_picture_keeps_the_proportions_of_the_box() -> None:
    window = face_window(coordinates(100, 200), (90, 30, 20, 40), 4.0, 60)
    assert span(window, 1) == pytest.approx((0, 99), abs=1)
    assert np.ptp(span(window, 0)) == pytest.approx(99 / 2, abs=2)


@given(
    st.tuples(st.integers(2, 60), st.integers(2, 60)),
    st.tuples(*(st.floats(-80, 80),) * 2, *(st.floats(0, 120),) * 2),
    st.floats(0.5, 20),
)
def test_every_box_gives_a_window(size: tuple[int, int], box: tuple[float, float, float, float], scale: float) -> None:
    assert face_window(coordinates(*size), box, scale, 16).shape == (16, 16, 3)
