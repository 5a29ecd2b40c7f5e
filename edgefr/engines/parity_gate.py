"""Compares a candidate (another precision, runtime or export) with its reference on real faces."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgefr.errors import InvalidArgumentError, WrongModelError
from edgefr.evaluation.error_rates import best_threshold
from edgefr.evaluation.pairs import Pairs, similarities
from edgefr.recognition.recogniser import Embeddings, Recogniser
from edgefr.types import Faces, Floats

Doubles = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Decisions:
    """The decisions of both models at one threshold. A pair is accepted if its similarity reaches the threshold.

    Attributes:
        threshold: The threshold.
        accuracy_reference, accuracy_candidate: Share of pairs that the model decides correctly.
        tar_reference, tar_candidate: Share of genuine pairs that the model accepts. None without genuine pairs.
        flipped: Indices of the pairs that the models decide differently.
        mixed_flips: Number of pairs that are decided differently if the reference embeds the first face and the
            candidate the second, as for a gallery that was enrolled in another precision.
    """

    threshold: float
    accuracy_reference: float
    accuracy_candidate: float
    tar_reference: float | None
    tar_candidate: float | None
    flipped: tuple[int, ...]
    mixed_flips: int

    @property
    def flips(self) -> int:
        return len(self.flipped)


@dataclass(frozen=True)
class ParityReport:
    """The difference between a candidate and its reference.

    Attributes:
        images: Number of faces.
        cosine_mean, cosine_p01, cosine_min: Mean, 0.1 percentile and minimum of the cosines of both embeddings.
        norm_difference: Largest absolute difference of the norms.
        uncertainty_difference: Largest absolute difference of the uncertainties. None if either model gives none.
        pairs: Number of pairs.
        decisions: The decisions at each threshold. Empty without pairs.
    """

    images: int
    cosine_mean: float
    cosine_p01: float
    cosine_min: float
    norm_difference: float
    uncertainty_difference: float | None
    pairs: int
    decisions: tuple[Decisions, ...] = ()


@dataclass(frozen=True)
class Bound:
    """The largest difference that is allowed. Its text is part of the key of an engine.

    Attributes:
        cosine_min: Lowest cosine of any face.
        flips_per_6000: Flipped decisions in 6,000 pairs. None allows any number.
        accuracy_points: Difference of the accuracies in percentage points.
    """

    cosine_min: float
    flips_per_6000: float | None
    accuracy_points: float


FP32 = Bound(cosine_min=0.99999, flips_per_6000=0, accuracy_points=0.0)
BF16 = Bound(cosine_min=0.995, flips_per_6000=2, accuracy_points=0.05)
FP16 = Bound(cosine_min=0.9995, flips_per_6000=1, accuracy_points=0.0)
INT8 = Bound(cosine_min=0.98, flips_per_6000=None, accuracy_points=0.1)
BOUNDS = {"fp32": FP32, "bf16": BF16, "fp16": FP16, "int8": INT8}
"""The bound for engines of each precision."""


def looser_bound(first: str, second: str) -> Bound:
    """The wider bound of two precisions, which holds for a comparison of both."""
    return min((BOUNDS[first], BOUNDS[second]), key=lambda bound: bound.cosine_min)


def compare_models(
    reference: Recogniser,
    candidate: Recogniser,
    faces: Faces,
    pairs: Pairs | None = None,
    thresholds: Sequence[float] = (),
    progress: Callable[[int], None] | None = None,
) -> ParityReport:
    """Embed faces with two models and compare embeddings and decisions.

    Args:
        reference: The reference.
        candidate: The model to compare with it.
        faces: (N, 112, 112, 3) uint8 RGB aligned faces.
        pairs: Pairs of these faces, for decisions.
        thresholds: Thresholds to decide at. Empty takes the one that is best for the reference.
        progress: Called with the number of faces that were embedded since the last call, 2 N altogether.

    Raises:
        InvalidArgumentError: There is no face, or a pair refers to a face beyond N.
        WrongModelError: The embeddings of the models have different lengths.
    """
    if len(faces) == 0:
        raise InvalidArgumentError("at least one face to compare models on", "none", "give a folder of faces")
    if reference.embedding_dim != candidate.embedding_dim:
        raise WrongModelError(
            "two models with embeddings of one length",
            f"{reference.embedding_dim} and {candidate.embedding_dim}",
            "compare a model with its own export or engine",
        )
    ours = reference.embed(faces, progress=progress)
    theirs = candidate.embed(faces, progress=progress)
    cosine = row_cosines(ours.embedding, theirs.embedding)
    return ParityReport(
        images=len(faces),
        cosine_mean=float(cosine.mean()),
        cosine_p01=float(np.percentile(cosine, 0.1)),
        cosine_min=float(cosine.min()),
        norm_difference=_largest_difference(ours.norm, theirs.norm),
        uncertainty_difference=(
            None
            if ours.uncertainty is None or theirs.uncertainty is None
            else _largest_difference(ours.uncertainty, theirs.uncertainty)
        ),
        pairs=0 if pairs is None else len(pairs),
        decisions=() if pairs is None or len(pairs) == 0 else _decide(ours, theirs, pairs, thresholds),
    )


def check_bounds(report: ParityReport, bound: Bound) -> list[str]:
    """A sentence for each bound that a report exceeds.

    Numbers of flips are scaled to the number of pairs and rounded up, because one of few is already a higher rate.
    """
    broken = []
    if report.cosine_min <= bound.cosine_min:
        broken.append(f"expected every face's cosine above {bound.cosine_min}, found {report.cosine_min:.6f}")
    for decided in report.decisions:
        broken += _broken_decisions(decided, report.pairs, bound)
    return broken


def _broken_decisions(decided: Decisions, pairs: int, bound: Bound) -> list[str]:
    broken, at = [], f"at the threshold {decided.threshold:.3f}"
    rate = 0.0 if bound.flips_per_6000 is None else bound.flips_per_6000
    flips = math.ceil(rate * pairs / 6000)
    if bound.flips_per_6000 is not None:
        for found, which in ((decided.flips, ""), (decided.mixed_flips, " against a gallery of the reference")):
            if found > flips:
                broken.append(f"expected at most {flips} flips in {pairs} pairs {at}, found {found}{which}")
    points = 100 * abs(decided.accuracy_reference - decided.accuracy_candidate)
    allowed = 100 * max(flips, math.ceil(round(bound.accuracy_points * pairs / 100, 6))) / pairs
    if points > allowed + 1e-9:  # a share of pairs is not an exact binary fraction
        broken.append(f"expected an accuracy within {allowed:.3f} points {at}, found {points:.3f} points apart")
    return broken


def _decide(ours: Embeddings, theirs: Embeddings, pairs: Pairs, thresholds: Sequence[float]) -> tuple[Decisions, ...]:
    reference, candidate = (similarities(side.embedding, pairs).astype(np.float64) for side in (ours, theirs))
    crossed = Pairs(pairs.first, pairs.second + len(ours.embedding), pairs.same)
    mixed = similarities(np.concatenate([ours.embedding, theirs.embedding]), crossed).astype(np.float64)
    return tuple(
        _at(threshold, reference, candidate, mixed, pairs.same)
        for threshold in thresholds or (best_threshold(reference, pairs.same),)
    )


def _at(threshold: float, reference: Doubles, candidate: Doubles, mixed: Doubles, same: Bools) -> Decisions:
    accepts, candidate_accepts = reference >= threshold, candidate >= threshold
    genuine = bool(same.any())
    return Decisions(
        threshold,
        float((accepts == same).mean()),
        float((candidate_accepts == same).mean()),
        float(accepts[same].mean()) if genuine else None,
        float(candidate_accepts[same].mean()) if genuine else None,
        tuple(int(index) for index in np.flatnonzero(accepts != candidate_accepts)),
        int(((mixed >= threshold) != accepts).sum()),
    )


def row_cosines(a: Floats, b: Floats) -> Doubles:
    """Cosines of the rows of (N, K) and (N, K): (N,). Divides by the lengths, which are not exactly 1."""
    left, right = a.astype(np.float64), b.astype(np.float64)
    lengths = np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1)
    cosine: Doubles = (left * right).sum(1) / lengths
    return cosine


def _largest_difference(a: Floats, b: Floats) -> float:
    return float(np.abs(a.astype(np.float64) - b.astype(np.float64)).max())
