"""Several images of a person as one template: a weighted mean of their embeddings.

The weights decide: all alike, the norm before the embedding was made unit (the sum of the raw vectors), the inverse
variance that the bottleneck tells of each image, or only the best image.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgefr.errors import EdgefrError
from edgefr.types import Floats


def weighted_mean(embeddings: Floats, weights: Floats | None = None) -> Floats:
    """One unit-length template (K,) of a person's unit-length `embeddings` (N, K), `weights` (N,) or all alike.

    Raises:
        EdgefrError: there is no embedding, the weights are not one finite number from 0 on for each, or the weighted
            sum has no direction.
    """
    weights = np.ones(len(embeddings), np.float32) if weights is None else weights
    if embeddings.ndim != 2 or len(embeddings) == 0 or weights.shape != embeddings.shape[:1]:
        raise EdgefrError(
            "embeddings (N, K) of at least one image and weights (N,)",
            f"{embeddings.shape} and {weights.shape}",
            "enrol a person with at least one image",
        )
    if not (np.isfinite(weights).all() and (weights >= 0).all()):
        raise EdgefrError("weights that are finite and not negative", "others", "leave those images out")
    total = (weights / max(weights.max(), np.finfo(np.float32).tiny)) @ embeddings  # (K,)
    length = float(np.linalg.norm(total))
    if not length > 1e-6:
        raise EdgefrError("images of one person", "embeddings that cancel or weights of zero", "enrol other images")
    return np.asarray(total / length, np.float32)


def fuse_by_confidence(
    embeddings: Sequence[Floats], norms: Sequence[float], uncertainties: Sequence[float | None]
) -> Floats:
    """One template (K,) of images' unit embeddings (K,): by inverse variance where the model tells of all of them how
    sure it is, else by norm.

    Raises:
        EdgefrError: as `weighted_mean`.
    """
    told = [value for value in uncertainties if value is not None]
    if len(told) == len(embeddings):
        weights = inverse_variance(np.array(told, np.float32))
    else:
        weights = np.array(norms, np.float32)
    return weighted_mean(np.stack(embeddings), weights)


def inverse_variance(uncertainty: Floats, temperature: float = 1.0) -> Floats:
    """Weights (N,) from `uncertainty` (N,), the mean log-variance of each image: exp(-uncertainty / temperature).

    Of Gaussians around one value the likeliest value is the mean weighted by inverse variances (Shi & Jain 2019,
    Probabilistic Face Embeddings, their fusion; here with one variance an image, the geometric mean over the code). A
    temperature above 1 trusts the variances less.
    """
    best = uncertainty.min(initial=np.inf)  # only ratios count: the best image weighs 1 and nothing overflows
    return np.asarray(np.exp((best - uncertainty) / temperature), np.float32)


def best_only(quality: Floats) -> Floats:
    """Weights (N,) that keep the one image of the highest `quality` (N,), the first among equals."""
    weights = np.zeros(len(quality), np.float32)
    weights[: len(quality)][np.argmax(quality)] = 1
    return weights
