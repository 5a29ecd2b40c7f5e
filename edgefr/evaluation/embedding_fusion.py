"""Finds out how to join the embeddings of several recognisers into one, without training a network.

Each embedding of unit length is multiplied by a weight, all are put one after the other, and the result is projected.
Weights and projection are measured on faces of known people: what counts is the loss of naming the person of a clean
and of a degraded face among clean references (`convention_measurement`).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edgefr.errors import InvalidArgumentError
from edgefr.evaluation.convention_measurement import probe_losses
from edgefr.types import Doubles, Floats, Ints

STEPS = {2: 20, 3: 12, 4: 8}
"""Number of nets -> steps of the grid of squared weights, which sum to 1."""

SHRINKAGE = (0.3, 1.0, 3.0)
"""Candidates for the share of the identity in the covariance that is whitened, relative to its mean variance."""

RIDGE = 1e-2
"""Regularisation of the maps between embeddings, as a share of the mean variance."""

MIN_GAIN = 2.0
"""Standard errors that whitening must gain on people it was not computed from before it is used."""


@dataclass(frozen=True)
class PartEmbeddings:
    """Embeddings of one recogniser: of clean faces, and of degraded copies of them.

    Attributes:
        clean: (N, K) float32 of unit length.
        degraded: (N, K) float32 of unit length.
        norm: (N,) float32, norms of the clean faces.
        degraded_norm: (N,) float32, norms of the degraded copies.
    """

    clean: Floats
    degraded: Floats
    norm: Floats
    degraded_norm: Floats


@dataclass(frozen=True)
class EmbeddingFusion:
    """How embeddings are joined.

    Attributes:
        weights: (P,) weight of each part's embedding; their squares sum to 1.
        projection: (D, K), from all weighted embeddings to the joined one.
        predictors: For each part a matrix (D - K_p, K_p) that predicts its embedding from those of the others.
        typical_norms: (P,) mean norm of each part.
        whitened: Whether the projection whitens the differences between pictures of one person.
    """

    weights: Doubles
    projection: Floats
    predictors: tuple[Floats, ...]
    typical_norms: Floats
    whitened: bool

    def join(self, embeddings: Sequence[Floats]) -> Floats:
        """The joined embeddings (N, K) of unit length of embeddings (N, K_p) of each part."""
        joined = _weighted(embeddings, self.weights) @ self.projection
        return np.asarray(joined / np.linalg.norm(joined, axis=1, keepdims=True), np.float32)

    def uncertainty(self, embeddings: Sequence[Floats]) -> Floats:
        """The logarithm of the parts' disagreement (N,): how badly each embedding is predicted from the others."""
        cosines = []
        for index, (own, predictor) in enumerate(zip(embeddings, self.predictors, strict=True)):
            predicted = _others(embeddings, index) @ predictor
            lengths = np.maximum(np.linalg.norm(predicted, axis=1), 1e-12)
            cosines.append((predicted * own).sum(1) / lengths)
        return np.asarray(np.log(np.maximum(1 - np.mean(cosines, axis=0), 1e-6)), np.float32)

    def norm(self, norms: Sequence[Floats]) -> Floats:
        """The joined norm (N,): the mean of the parts' norms, each divided by its typical value."""
        return np.asarray(np.mean([n / t for n, t in zip(norms, self.typical_norms, strict=True)], axis=0), np.float32)


def fit_fusion(parts: Sequence[PartEmbeddings], people: Ints, dim: int | None = None) -> EmbeddingFusion:
    """Measure how to join embeddings.

    Args:
        parts: Embeddings of two to four recognisers for the same N faces.
        people: (N,) number of the person on each face; everyone has two.
        dim: Length of the joined embedding. None keeps that of all together.

    Raises:
        InvalidArgumentError: There are too few or too many parts, or `dim` is longer than all together.
    """
    if len(parts) not in STEPS:
        raise InvalidArgumentError("two to four recognisers to fuse", str(len(parts)), "name other files")
    total = sum(part.clean.shape[1] for part in parts)
    if dim is not None and not 2 <= dim <= total:
        raise InvalidArgumentError(
            f"--dim from 2 to {total}, the length of all embeddings together", str(dim), "correct it"
        )
    weights = _best_weights(parts, people)
    clean, degraded = (_weighted([getattr(part, name) for part in parts], weights) for name in ("clean", "degraded"))
    whitening = _helpful_whitening(clean, degraded, people)
    projection: Doubles = np.eye(total) if whitening is None else whitening
    if dim is not None and dim < total:
        projection = projection @ _principal_axes(clean.astype(np.float64) @ projection, dim)
    return EmbeddingFusion(
        weights,
        projection.astype(np.float32),
        tuple(_predictor(parts, index) for index in range(len(parts))),
        np.array([part.norm.mean() for part in parts], np.float32),
        whitening is not None,
    )


def fusion_loss(clean: Floats, degraded: Floats, people: Ints) -> Doubles:
    """The loss of every person (P,): the mean of those of clean and of degraded probes."""
    losses = (probe_losses(clean, clean, people)[0] + probe_losses(clean, degraded, people)[0]) / 2
    _, person = np.unique(people, return_inverse=True)
    return np.asarray(np.bincount(person, losses) / np.bincount(person))


def _weighted(embeddings: Sequence[Floats], weights: Doubles) -> Floats:
    return np.concatenate([weight * part for weight, part in zip(weights, embeddings, strict=True)], axis=1)


def _others(embeddings: Sequence[Floats], index: int) -> Floats:
    return np.concatenate([part for other, part in enumerate(embeddings) if other != index], axis=1)


def _best_weights(parts: Sequence[PartEmbeddings], people: Ints) -> Doubles:
    """The weights with the lowest loss on a grid. No part is left out."""
    steps = STEPS[len(parts)]
    shares = [
        np.array(counts) / steps
        for counts in itertools.product(range(1, steps), repeat=len(parts))
        if sum(counts) == steps
    ]

    def loss(share: Doubles) -> float:
        weights = np.sqrt(share)
        clean, degraded = (
            _weighted([getattr(part, name) for part in parts], weights) for name in ("clean", "degraded")
        )
        return float(fusion_loss(clean, degraded, people).mean())

    return np.asarray(np.sqrt(min(shares, key=loss)))


def _helpful_whitening(clean: Floats, degraded: Floats, people: Ints) -> Doubles | None:
    """The whitening of the differences between pictures of one person, None if it does not clearly help.

    It is computed from one half of the people and measured on the other, both ways.
    """
    _, person = np.unique(people, return_inverse=True)
    halves = [person % 2 == 0, person % 2 == 1]
    plain = np.concatenate([fusion_loss(clean[half], degraded[half], people[half]) for half in halves])
    gains = {}
    for shrinkage in SHRINKAGE:
        losses = []
        for fit, test in (halves[::-1], halves):
            matrix = _whitening(clean[fit], degraded[fit], people[fit], shrinkage)
            whitened = [_unit(part[test] @ matrix) for part in (clean, degraded)]
            losses.append(fusion_loss(whitened[0], whitened[1], people[test]))
        gain = plain - np.concatenate(losses)
        gains[shrinkage] = float(gain.mean() / max(gain.std() / np.sqrt(len(gain)), 1e-12))
    best = max(gains, key=lambda shrinkage: gains[shrinkage])
    return _whitening(clean, degraded, people, best) if gains[best] > MIN_GAIN else None


def _whitening(clean: Floats, degraded: Floats, people: Ints, shrinkage: float) -> Doubles:
    """(D, D): the inverse square root of the shrunk covariance within people (within-class covariance normalisation,
    Hatch et al., Interspeech 2006)."""
    order = np.argsort(people, kind="stable")
    first, second = order[0::2], order[1::2]  # everyone has two faces
    within = np.concatenate([clean[first] - clean[second], clean[first] - degraded[second]]).astype(np.float64)
    covariance = within.T @ within / len(within)
    mean = np.trace(covariance) / len(covariance)
    values, vectors = np.linalg.eigh(covariance + shrinkage * mean * np.eye(len(covariance)))
    return np.asarray((vectors * (values / mean) ** -0.5) @ vectors.T)


def _unit(embedding: Floats) -> Floats:
    return np.asarray(embedding / np.linalg.norm(embedding, axis=1, keepdims=True), np.float32)


def _principal_axes(embedding: Floats | Doubles, dim: int) -> Doubles:
    """(D, dim): the axes that keep most of the lengths of the rows, and so of their cosines. The mean stays in."""
    _, vectors = np.linalg.eigh(embedding.T.astype(np.float64) @ embedding.astype(np.float64))
    return np.asarray(vectors[:, ::-1][:, :dim])


def _predictor(parts: Sequence[PartEmbeddings], index: int) -> Floats:
    """The ridge regression from the others' embeddings of clean faces to those of one part."""
    others = _others([part.clean for part in parts], index).astype(np.float64)
    gram = others.T @ others
    gram += RIDGE * np.trace(gram) / len(gram) * np.eye(len(gram))
    return np.asarray(np.linalg.solve(gram, others.T @ parts[index].clean), np.float32)
