"""Template fusion: several images of a person become one template, a weighted mean of their embeddings.

The weights can be equal, the norms of the embeddings before normalisation (which gives the sum of the raw vectors), the
inverse variances of the bottleneck, or 1 for the best image only.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgefr.errors import InvalidArgumentError
from edgefr.types import Floats


def weighted_mean(embeddings: Floats, weights: Floats | None = None) -> Floats:
    """Fuse the embeddings of one person.

    Args:
        embeddings: (N, K) float32 of unit length, N at least 1.
        weights: (N,), finite and not negative; only their ratios count. None means equal weights.

    Returns:
        The template, (K,) float32 of unit length.

    Raises:
        InvalidArgumentError: The shapes or weights are not as above, or the weighted sum has no direction.
    """
    weights = np.ones(len(embeddings), np.float32) if weights is None else weights
    if embeddings.ndim != 2 or len(embeddings) == 0 or weights.shape != embeddings.shape[:1]:
        raise InvalidArgumentError(
            "embeddings (N, K) of at least one image and weights (N,)",
            f"{embeddings.shape} and {weights.shape}",
            "enrol at least one image of each person",
        )
    if not (np.isfinite(weights).all() and (weights >= 0).all()):
        raise InvalidArgumentError("weights that are finite and not negative", "others", "leave out these images")
    total = (weights / max(weights.max(), np.finfo(np.float32).tiny)) @ embeddings  # (K,)
    length = float(np.linalg.norm(total))
    if not length > 1e-6:
        raise InvalidArgumentError(
            "images of one person", "embeddings that cancel out or weights of zero", "enrol other images"
        )
    return np.asarray(total / length, np.float32)


def fuse_by_confidence(
    embeddings: Sequence[Floats], norms: Sequence[float], uncertainties: Sequence[float | None]
) -> Floats:
    """Fuse embeddings by inverse variance if the model gives an uncertainty for all of them, else by norm.

    Args:
        embeddings: (K,) float32 of unit length for each image.
        norms: Length of each embedding before normalisation.
        uncertainties: Mean log-variance of each image, or None.

    Returns:
        The template, (K,) float32 of unit length.

    Raises:
        InvalidArgumentError: As in `weighted_mean`.
    """
    return weighted_mean(np.stack(embeddings), confidence_weights(norms, uncertainties))


def confidence_weights(norms: Sequence[float], uncertainties: Sequence[float | None]) -> Floats:
    """Weights by inverse variance if the model gives an uncertainty for all images, else by norm.

    Args:
        norms: Length of each embedding before normalisation.
        uncertainties: Mean log-variance of each image, or None.

    Returns:
        (N,) float32. Only the ratios count.
    """
    known = [value for value in uncertainties if value is not None]
    complete = len(known) == len(uncertainties)
    return inverse_variance(np.array(known, np.float32)) if complete else np.array(norms, np.float32)


def inverse_variance(uncertainty: Floats, temperature: float = 1.0) -> Floats:
    """Weights by inverse variance: exp(-uncertainty / temperature).

    For Gaussians around one value, the mean weighted by inverse variances is the maximum-likelihood estimate (Shi &
    Jain 2019, Probabilistic Face Embeddings). Here each image has one variance, the geometric mean over its dimensions.

    Args:
        uncertainty: (N,) mean log-variance of each image.
        temperature: Above 1, differences of the variances count less.

    Returns:
        (N,) float32; the best image has the weight 1, so that nothing overflows.
    """
    best = uncertainty.min(initial=np.inf)
    return np.asarray(np.exp((best - uncertainty) / temperature), np.float32)


def best_only(quality: Floats) -> Floats:
    """Weights that keep only the best image.

    Args:
        quality: (N,), higher is better.

    Returns:
        (N,) float32: 1 for the first image of the highest quality, 0 for the others.
    """
    weights = np.zeros(len(quality), np.float32)
    weights[np.argmax(quality)] = 1
    return weights
