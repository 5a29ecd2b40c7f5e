"""Does a candidate - another precision, runtime or export - decide as its reference does on real faces?"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgefr.errors import EdgefrError
from edgefr.evaluation.error_rates import best_threshold
from edgefr.evaluation.pairs import Pairs, similarities
from edgefr.recognition.recogniser import Embeddings, Recogniser
from edgefr.types import Faces, Floats

Doubles = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Decisions:
    """What both say of all pairs at one threshold, same being similarity >= `threshold`.

    `accuracy_*`: share of pairs decided rightly. `tar_*`: share of genuine pairs accepted, None where there is none.
    `flipped`: indices of the pairs that the two decide differently; `mixed_flips`: how many are decided differently
    where the first face was embedded by the reference and the second by the candidate, as with a gallery that was
    enrolled in another precision.
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
    """How far a candidate is from its reference.

    `cosine_*`: between both embeddings of a face; `cosine_p01` is the 0.1 percentile. `norm_difference` and
    `uncertainty_difference`: the largest absolute ones, None where either model gives no uncertainty.
    `decisions`: at every threshold asked for; none without pairs.
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
    """The most a candidate may deviate: the lowest cosine of any face, flips in 6,000 pairs (None: any number), and
    points of accuracy in percent."""

    cosine_min: float
    flips_per_6000: float | None
    accuracy_points: float


FP32 = Bound(cosine_min=0.99999, flips_per_6000=0, accuracy_points=0.0)
BF16 = Bound(cosine_min=0.995, flips_per_6000=2, accuracy_points=0.05)
FP16 = Bound(cosine_min=0.9995, flips_per_6000=1, accuracy_points=0.0)
INT8 = Bound(cosine_min=0.98, flips_per_6000=None, accuracy_points=0.1)
BOUNDS = {"fp32": FP32, "bf16": BF16, "fp16": FP16, "int8": INT8}
"""What an engine of a precision must keep."""


def looser(first: str, second: str) -> Bound:
    """The wider bound of two precisions: what a comparison of both must keep."""
    return min((BOUNDS[first], BOUNDS[second]), key=lambda bound: bound.cosine_min)


def compare(
    reference: Recogniser,
    candidate: Recogniser,
    faces: Faces,
    pairs: Pairs | None = None,
    thresholds: Sequence[float] = (),
    progress: Callable[[int], None] | None = None,
) -> ParityReport:
    """Embed (N, 112, 112, 3) aligned faces with both and compare embeddings and decisions.

    Without thresholds decisions use the one that suits the reference best. `progress` is called with the
    number of faces just embedded; together they are 2 N.

    Raises:
        EdgefrError: there is no face, the embeddings differ in length, or a pair names a face beyond N.
    """
    if len(faces) == 0:
        raise EdgefrError("at least one face to compare models on", "none", "give a folder of faces")
    if reference.embedding_dim != candidate.embedding_dim:
        raise EdgefrError(
            "two models with embeddings of one length",
            f"{reference.embedding_dim} and {candidate.embedding_dim}",
            "compare a model with its own export or engine",
        )
    ours = reference.embed(faces, progress=progress)
    theirs = candidate.embed(faces, progress=progress)
    cosine = _cosine(ours.embedding, theirs.embedding)
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


def check(report: ParityReport, bound: Bound) -> list[str]:
    """A sentence for every bound that the report breaks; none means parity.

    On few pairs one flip is more than the bounds' rates: as many pairs as a rate gives, rounded up, pass.
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
    if points > allowed + 1e-9:  # a share of pairs is no exact binary fraction
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
    says, differs = reference >= threshold, candidate >= threshold
    genuine = bool(same.any())
    return Decisions(
        threshold,
        float((says == same).mean()),
        float((differs == same).mean()),
        float(says[same].mean()) if genuine else None,
        float(differs[same].mean()) if genuine else None,
        tuple(int(index) for index in np.flatnonzero(says != differs)),
        int(((mixed >= threshold) != says).sum()),
    )


def _cosine(a: Floats, b: Floats) -> Doubles:
    """(N, K), (N, K) -> (N,); lengths are divided out, for they need not be exactly 1."""
    left, right = a.astype(np.float64), b.astype(np.float64)
    lengths = np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1)
    cosine: Doubles = (left * right).sum(1) / lengths
    return cosine


def _largest_difference(a: Floats, b: Floats) -> float:
    return float(np.abs(a.astype(np.float64) - b.astype(np.float64)).max())
