"""Does a candidate - another precision, runtime or export - decide as its reference does on real faces?"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgefr.backends.recogniser import Embeddings, Recogniser
from edgefr.errors import EdgefrError
from edgefr.evaluate.pairs import Pairs, similarities
from edgefr.evaluate.rates import best_threshold
from edgefr.spec import Faces, Floats

Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True)
class ParityReport:
    """How far a candidate is from its reference.

    `cosine_*`: between both embeddings of a face; `cosine_p01` is the 0.1 percentile. `norm_difference` and
    `uncertainty_difference`: the largest absolute ones, None where either model gives no uncertainty.
    `accuracy_*`: share of pairs decided rightly by similarity >= `threshold`. `flips`: pairs that the two
    decide differently, `flipped` their indices. Without pairs accuracies and threshold are None.
    """

    images: int
    cosine_mean: float
    cosine_p01: float
    cosine_min: float
    norm_difference: float
    uncertainty_difference: float | None
    pairs: int
    threshold: float | None
    accuracy_reference: float | None
    accuracy_candidate: float | None
    flips: int
    flipped: tuple[int, ...]


@dataclass(frozen=True)
class Bound:
    """The most a candidate may deviate: the lowest cosine of any face, flips in 6,000 pairs, and points of
    accuracy in percent."""

    cosine_min: float
    flips_per_6000: float
    accuracy_points: float


FP32 = Bound(cosine_min=0.99999, flips_per_6000=0, accuracy_points=0.0)
BF16 = Bound(cosine_min=0.995, flips_per_6000=2, accuracy_points=0.05)


def compare(
    reference: Recogniser,
    candidate: Recogniser,
    faces: Faces,
    pairs: Pairs | None = None,
    threshold: float | None = None,
    progress: Callable[[int], None] | None = None,
) -> ParityReport:
    """Embed (N, 112, 112, 3) aligned faces with both and compare embeddings and decisions.

    Without a threshold decisions use the one that suits the reference best. `progress` is called with the
    number of faces just embedded; together they are 2 N.

    Raises:
        EdgefrError: there is no face, the embeddings differ in length, or a pair names a face beyond N.
    """
    if len(faces) == 0:
        raise EdgefrError("expected at least one face to compare models on, found none: give a folder of faces")
    if reference.embedding_dim != candidate.embedding_dim:
        raise EdgefrError(
            f"expected two models with embeddings of one length, found {reference.embedding_dim} and "
            f"{candidate.embedding_dim}: compare a model with its own export or engine"
        )
    ours = reference.embed(faces, progress=progress)
    theirs = candidate.embed(faces, progress=progress)
    cosine = _cosine(ours.embedding, theirs.embedding)
    decisions = _Decisions.of(ours, theirs, pairs, threshold)
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
        threshold=decisions.threshold,
        accuracy_reference=decisions.accuracy_reference,
        accuracy_candidate=decisions.accuracy_candidate,
        flips=len(decisions.flipped),
        flipped=decisions.flipped,
    )


def check(report: ParityReport, bound: Bound) -> list[str]:
    """A sentence for every bound that the report breaks; none means parity.

    On few pairs one flip is more than the bounds' rates: as many flips as the rate gives, rounded up, pass,
    and so does what they do to the accuracy.
    """
    broken = []
    if report.cosine_min <= bound.cosine_min:
        broken.append(f"expected every face's cosine above {bound.cosine_min}, found {report.cosine_min:.6f}")
    if report.accuracy_reference is None or report.accuracy_candidate is None:
        return broken
    flips = math.ceil(bound.flips_per_6000 * report.pairs / 6000)
    if report.flips > flips:
        broken.append(f"expected at most {flips} flips in {report.pairs} pairs, found {report.flips}")
    points = 100 * abs(report.accuracy_reference - report.accuracy_candidate)
    allowed = max(bound.accuracy_points, 100 * flips / report.pairs)
    if points > allowed + 1e-9:  # a share of pairs is no exact binary fraction
        broken.append(f"expected an accuracy within {allowed:.3f} points, found {points:.3f} points apart")
    return broken


@dataclass(frozen=True)
class _Decisions:
    threshold: float | None = None
    accuracy_reference: float | None = None
    accuracy_candidate: float | None = None
    flipped: tuple[int, ...] = ()

    @classmethod
    def of(cls, ours: Embeddings, theirs: Embeddings, pairs: Pairs | None, threshold: float | None) -> _Decisions:
        if pairs is None or len(pairs) == 0:
            return cls()
        reference = similarities(ours.embedding, pairs).astype(np.float64)
        candidate = similarities(theirs.embedding, pairs).astype(np.float64)
        if threshold is None:
            threshold = best_threshold(reference, pairs.same)
        says, differs = reference >= threshold, candidate >= threshold
        return cls(
            threshold,
            float((says == pairs.same).mean()),
            float((differs == pairs.same).mean()),
            tuple(int(index) for index in np.flatnonzero(says != differs)),
        )


def _cosine(a: Floats, b: Floats) -> Doubles:
    """(N, K), (N, K) -> (N,); lengths are divided out, for they need not be exactly 1."""
    left, right = a.astype(np.float64), b.astype(np.float64)
    lengths = np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1)
    cosine: Doubles = (left * right).sum(1) / lengths
    return cosine


def _largest_difference(a: Floats, b: Floats) -> float:
    return float(np.abs(a.astype(np.float64) - b.astype(np.float64)).max())
