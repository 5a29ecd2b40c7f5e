"""Thresholds by false match rate, with the interval that the number of people allows.

Terms as in ISO/IEC 19795-1: the false match rate (FMR) is the share of impostor pairs whose similarity reaches
the threshold.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgefr.errors import EdgefrError
from edgefr.types import Floats, Ints

FALSE_MATCHES_NEEDED = 30
"""The rule of 30 (Doddington et al. 2000): with so many errors the rate is known within about 30 %."""

BOOTSTRAP = 500
KEPT_SHARE = 20
"""The highest similarities that are kept for the bootstrap, in multiples of those that the FMR asks for."""

BLOCK = 256


@dataclass(frozen=True)
class ImpostorThreshold:
    """A threshold at (at most) a false match rate, its 95 % interval over people, and what it was measured on."""

    fmr: float
    value: float
    ci95: tuple[float, float]
    pairs: int
    people: int


def threshold_at_fmr(embedding: Floats, labels: Ints, fmr: float, seed: int = 0) -> ImpostorThreshold:
    """The lowest threshold whose FMR over all pairs of different people is at most `fmr`.

    `embedding` (N, K) of unit length, `labels` (N,) the person of each. The interval is a percentile bootstrap
    over people: each resample draws people with replacement and weights a pair by how often both were drawn.

    Raises:
        EdgefrError: there are too few impostor pairs to measure this rate.
    """
    total = impostor_pairs(labels, fmr)
    people, label = np.unique(labels, return_inverse=True)
    counts = np.bincount(label)
    values, first, second = _highest_impostors(embedding, label, KEPT_SHARE * math.ceil(fmr * total))
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(BOOTSTRAP):
        weight = np.bincount(rng.integers(0, len(people), len(people)), minlength=len(people))
        mass = weight * counts
        drawn_total = (int(mass.sum()) ** 2 - int((mass**2).sum())) / 2
        found.append(_cut(values, weight[first] * weight[second], fmr * drawn_total))
    low, high = np.percentile(found, (2.5, 97.5))
    value = _cut(values, np.ones(len(values)), fmr * total)
    return ImpostorThreshold(fmr, value, (float(low), float(high)), total, len(people))


def impostor_pairs(labels: Ints, fmr: float) -> int:
    """How many pairs of different people (N,) labels give.

    Raises:
        EdgefrError: too few to measure `fmr`.
    """
    counts = np.unique(labels, return_counts=True)[1]
    total = (len(labels) ** 2 - int((counts**2).sum())) // 2
    needed = math.ceil(FALSE_MATCHES_NEEDED / fmr)
    if total < needed:
        raise EdgefrError(
            f"at least {needed:,} impostor pairs to measure an FMR of {fmr:g}",
            f"{total:,}",
            "give more people or ask for a higher rate",
        )
    return total


def _highest_impostors(embedding: Floats, label: Ints, keep: int) -> tuple[Floats, Ints, Ints]:
    """Similarity and both labels of the `keep` most similar pairs of different people, most similar first."""
    values = np.empty(0, np.float32)
    first, second = np.empty(0, np.int64), np.empty(0, np.int64)
    for start in range(0, len(label), BLOCK):
        rows = label[start : start + BLOCK]
        similarity = embedding[start : start + BLOCK] @ embedding.T  # (BLOCK, N)
        # Each pair once (the later image as column), and of different people.
        later = np.arange(len(label)) > np.arange(start, start + len(rows))[:, None]
        floor = values.min() if len(values) == keep else -np.inf  # below it nothing can be among the highest
        row, column = np.nonzero(later & (rows[:, None] != label) & (similarity > floor))
        values = np.concatenate([values, similarity[row, column]])
        first, second = np.concatenate([first, rows[row]]), np.concatenate([second, label[column]])
        if len(values) > keep:
            best = np.argpartition(values, -keep)[-keep:]
            values, first, second = values[best], first[best], second[best]
    order = np.argsort(-values, kind="stable")
    return values[order], first[order], second[order]


def _cut(values: Floats, weights: npt.NDArray[np.generic], allowed: float) -> float:
    """The lowest threshold that at most a weight of `allowed` reaches; `values` fall.

    It lies midway between the last similarity let in and the first kept out.
    """
    reached = np.cumsum(weights)
    # Equal similarities pass or fail together: what counts is the weight at the end of each run of equals.
    ends = np.flatnonzero(np.append(values[1:] != values[:-1], True))
    passing = ends[reached[ends] <= allowed]
    last = int(passing[-1]) if len(passing) else -1
    above = float(values[last]) if last >= 0 else 1.0
    below = float(values[last + 1]) if last + 1 < len(values) else float(values[-1])
    return (above + below) / 2
