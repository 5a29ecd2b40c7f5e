"""Weights, projection and disagreement of a fusion without training."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgefr.errors import InvalidArgumentError
from edgefr.evaluation.embedding_fusion import PartEmbeddings, fit_fusion, fusion_loss

PEOPLE = np.repeat(np.arange(150), 2)


def part(noise: float, seed: int, dim: int = 32) -> PartEmbeddings:
    """A net whose embeddings are identities of its own kind with noise; degraded faces have half as much again."""
    rng = np.random.default_rng(seed)
    shared = np.random.default_rng(99).normal(size=(150, 16))
    identity = shared @ rng.normal(size=(16, dim)) / 4

    def unit(scale: float) -> np.ndarray:
        rows = identity[PEOPLE] + scale * rng.normal(size=(300, dim))
        return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)

    norm = np.full(300, 10.0 * (seed + 1), np.float32)
    return PartEmbeddings(unit(noise), unit(1.5 * noise), norm, norm / 2)


def test_the_better_part_gets_the_larger_weight_and_the_fusion_is_better_than_both() -> None:
    good, poor = part(0.8, 1), part(1.6, 2)
    fusion = fit_fusion([poor, good], PEOPLE)
    assert fusion.weights[1] > fusion.weights[0] > 0
    assert (fusion.weights**2).sum() == pytest.approx(1)
    fused = fusion_loss(fusion.join([poor.clean, good.clean]), fusion.join([poor.degraded, good.degraded]), PEOPLE)
    assert fused.mean() < fusion_loss(good.clean, good.degraded, PEOPLE).mean()


@settings(max_examples=5, deadline=None)
@given(dim=st.integers(2, 64))
def test_a_projection_keeps_unit_length_and_most_of_the_cosines(dim: int) -> None:
    parts = [part(0.8, 1), part(0.8, 2)]
    whole = fit_fusion(parts, PEOPLE)
    joined = fit_fusion(parts, PEOPLE, dim).join([entry.clean for entry in parts])
    assert joined.shape == (300, dim)
    np.testing.assert_allclose(np.linalg.norm(joined, axis=1), 1, atol=1e-5)
    if dim > 48:
        full = whole.join([entry.clean for entry in parts])
        assert np.corrcoef((joined @ joined.T).ravel(), (full @ full.T).ravel())[0, 1] > 0.98


def test_disagreement_is_larger_for_faces_that_the_nets_see_differently() -> None:
    parts = [part(0.3, 1), part(0.3, 2)]
    fusion = fit_fusion(parts, PEOPLE)
    agreed = fusion.uncertainty([entry.clean for entry in parts])
    mixed = fusion.uncertainty([parts[0].clean, np.roll(parts[1].clean, 2, axis=0)])  # another person's embedding
    assert agreed.mean() + 1 < mixed.mean()


def test_the_norm_is_one_for_typical_faces_of_every_part() -> None:
    parts = [part(0.8, 1), part(0.8, 2)]
    fusion = fit_fusion(parts, PEOPLE)
    np.testing.assert_allclose(fusion.norm([entry.norm for entry in parts]), 1, rtol=1e-6)
    np.testing.assert_allclose(fusion.norm([entry.degraded_norm for entry in parts]), 0.5, rtol=1e-6)


@pytest.mark.parametrize(("count", "dim"), [(1, None), (5, None), (2, 65), (2, 1)])
def test_impossible_fusions_are_refused(count: int, dim: int | None) -> None:
    with pytest.raises(InvalidArgumentError):
        fit_fusion([part(0.8, seed) for seed in range(count)], PEOPLE, dim)
