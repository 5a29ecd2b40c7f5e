"""Templates have unit length and the given weights; inverse variances beat a plain mean."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgefr.errors import InvalidArgumentError
from edgefr.recognition.template_fusion import best_only, inverse_variance, weighted_mean


def unit(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)


def images(count: int, seed: int = 0) -> np.ndarray:
    return unit(np.random.default_rng(seed).normal(size=(count, 16)) + 1)


def test_one_image_is_its_own_template() -> None:
    assert np.allclose(weighted_mean(images(1)), images(1)[0])


def test_without_weights_all_images_count_equally() -> None:
    assert np.allclose(weighted_mean(images(5)), unit(images(5).mean(0)))


@given(st.lists(st.floats(2**-10, 1, width=32), min_size=3, max_size=3), st.floats(1e-30, 1e30))
def test_only_the_ratio_of_weights_counts(weights: list[float], scale: float) -> None:
    found = [weighted_mean(images(3), np.array(weights, np.float64) * factor) for factor in (1, scale)]
    assert np.allclose(*found, atol=1e-6)
    assert np.allclose(np.linalg.norm(found, axis=1), 1, atol=1e-6)
    assert np.allclose(found[0], unit(np.array(weights) @ images(3)), atol=1e-6)


def test_inverse_variance_gives_the_maximum_likelihood_estimate() -> None:
    """The weighted mean is where the joint likelihood of all images is highest: its slope there is zero."""
    uncertainty = np.float32([-7, -5, -4])
    weights = inverse_variance(uncertainty)
    assert weights == pytest.approx(np.exp(-uncertainty) / np.exp(7))
    mean = weights @ images(3) / weights.sum()
    slope = ((mean - images(3)) / np.exp(uncertainty)[:, None]).sum(0)
    assert np.allclose(slope, 0, atol=1e-3)


def test_inverse_variances_beat_a_plain_mean() -> None:
    rng = np.random.default_rng(0)
    truth = unit(rng.normal(size=(300, 64)))
    deviation = rng.choice([0.02, 0.3], size=(300, 4))
    observed = unit(truth[:, None] + deviation[..., None] * rng.normal(size=(300, 4, 64)))
    uncertainty = (2 * np.log(deviation)).astype(np.float32)
    weighted = np.array(
        [weighted_mean(e, inverse_variance(u)) @ t for e, u, t in zip(observed, uncertainty, truth, strict=True)]
    )
    plain = np.array([weighted_mean(e) @ t for e, t in zip(observed, truth, strict=True)])
    assert weighted.mean() > plain.mean() + 0.05


def test_a_high_temperature_ignores_variances_and_a_low_one_keeps_only_the_best() -> None:
    uncertainty = np.float32([-7, -5, -4])
    assert np.allclose(
        weighted_mean(images(3), inverse_variance(uncertainty, 1e6)), weighted_mean(images(3)), atol=1e-4
    )
    assert np.allclose(inverse_variance(uncertainty, 1e-3), best_only(-uncertainty))


def test_extreme_uncertainties_give_finite_weights() -> None:
    assert inverse_variance(np.float32([1e30, 0, -1e30])).tolist() == [0, 0, 1]
    assert inverse_variance(np.float32([1e4, 1e4])).tolist() == [1, 1]


def test_only_the_best_image_is_kept() -> None:
    assert best_only(np.float32([1, 3, 3, 2])).tolist() == [0, 1, 0, 0]
    assert np.allclose(weighted_mean(images(4), best_only(np.float32([1, 3, 3, 2]))), images(4)[1])


@pytest.mark.parametrize(
    ("embeddings", "weights", "match"),
    [
        (np.zeros((0, 16), np.float32), None, "at least one image"),
        (images(3)[0], None, "at least one image"),
        (images(3), np.ones(2, np.float32), r"found \(3, 16\) and \(2,\)"),
        (images(3), np.float32([1, np.nan, 1]), "finite and not negative"),
        (images(3), np.float32([1, np.inf, 1]), "finite and not negative"),
        (images(3), np.float32([1, -1, 1]), "finite and not negative"),
        (images(3), np.zeros(3, np.float32), "weights of zero"),
        (np.stack([images(1)[0], -images(1)[0]]), None, "cancel"),
    ],
)
def test_embeddings_without_a_template_are_rejected(
    embeddings: np.ndarray, weights: np.ndarray | None, match: str
) -> None:
    with pytest.raises(InvalidArgumentError, match=match):
        weighted_mean(embeddings, weights)
