"""Thresholds by FMR equal a from-scratch count over all pairs, with an interval over people."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgefr.errors import EdgefrError
from edgefr.evaluation.fmr_thresholds import _lowest_threshold, threshold_at_fmr


def people(count: int, images: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(count, 16))
    embedding = (centres[:, None] + 0.3 * rng.normal(size=(count, images, 16))).reshape(-1, 16)
    embedding /= np.linalg.norm(embedding, axis=1, keepdims=True)
    return embedding.astype(np.float32), np.repeat(np.arange(count), images)


def impostors(embedding: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """From scratch: every pair of different people once."""
    return np.array(
        [
            float(embedding[i] @ embedding[j])
            for i in range(len(labels))
            for j in range(i + 1, len(labels))
            if labels[i] != labels[j]
        ]
    )


@pytest.mark.parametrize("fmr", [1e-2, 2e-3])
def test_the_threshold_keeps_exactly_the_false_match_rate(fmr: float) -> None:
    embedding, labels = people(80, 3)
    found = threshold_at_fmr(embedding, labels, fmr)
    scores = impostors(embedding, labels)
    assert found.pairs == len(scores)
    assert found.people == 80
    assert int((scores >= found.value).sum()) == int(fmr * len(scores))
    assert found.ci95[0] <= found.value <= found.ci95[1]


def test_the_interval_shrinks_with_more_people() -> None:
    few, many = (threshold_at_fmr(*people(count, 2), 1e-2) for count in (60, 240))
    assert many.ci95[1] - many.ci95[0] < few.ci95[1] - few.ci95[0]


def test_the_interval_covers_the_truth_in_about_95_percent() -> None:
    truth = threshold_at_fmr(*people(1500, 1, seed=99), 1e-2).value
    covered = [
        low <= truth <= high for low, high in (threshold_at_fmr(*people(80, 1, seed=s), 1e-2).ci95 for s in range(40))
    ]
    assert np.mean(covered) >= 0.8


def test_a_rate_that_the_pairs_cannot_support_is_refused_with_the_number_needed() -> None:
    embedding, labels = people(10, 1)
    with pytest.raises(EdgefrError, match=r"at least 30,000 impostor pairs .* found 45"):
        threshold_at_fmr(embedding, labels, 1e-3)


@settings(max_examples=200)
@given(st.lists(st.sampled_from([0.1, 0.2, 0.3, 0.4]), min_size=2, max_size=20), st.floats(0, 20))
def test_equal_similarities_pass_or_fail_together(scores: list[float], allowed: float) -> None:
    values = np.array(sorted(scores, reverse=True), np.float32)
    threshold = _lowest_threshold(values, np.ones(len(values)), allowed)
    passing = int((values >= threshold).sum())
    assert passing <= allowed
    lower = values[passing:]
    if len(lower):  # one run more would be too many
        assert passing + int((lower == lower[0]).sum()) > allowed
