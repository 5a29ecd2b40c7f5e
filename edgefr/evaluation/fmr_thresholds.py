"""Thresholds at false match rates, with an interval over people.

The false match rate (FMR, ISO/IEC 19795-1) is the share of impostor pairs whose similarity reaches the threshold.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgefr.errors import InvalidArgumentError
from edgefr.types import Floats, Ints

FALSE_MATCHES_NEEDED = 30
"""The rule of 30 (Doddington et al. 2000): with 30 errors, a rate is known within about 30 %."""

BOOTSTRAP = 500
KEPT_SHARE = 20
"""How many of the highest similarities the bootstrap keeps, in multiples of those that the FMR allows."""

BLOCK = 256


@dataclass(frozen=True)
class ImpostorThreshold:
    """A threshold at a false match rate, its 95 % interval over people, and the numbers of pairs and people
    measured.
    """

    fmr: float
    value: float
    ci95: tuple[float, float]
    pairs: int
    people: int


def comparisons_needed(rate: float) -> int:
    """How many comparisons are needed to measure a rate, by the rule of 30."""
    return math.ceil(FALSE_MATCHES_NEEDED / rate)


def check_supported(rate: float, count: int, what: str, rate_name: str = "a rate") -> None:
    """Refuse a rate that cannot be measured, by the rule of 30.

    Args:
        rate: The rate.
        count: Number of comparisons.
        what: What they are, for the message.
        rate_name: The name of the rate with its article.

    Raises:
        InvalidArgumentError: The rate is not between 0 and 1, or there are too few comparisons.
    """
    if not 0 < rate < 1:
        raise InvalidArgumentError("a rate between 0 and 1", f"{rate:g}", "give one such as 1e-3")
    if count < (needed := comparisons_needed(rate)):
        raise InvalidArgumentError(
            f"at least {needed:,} {what} to measure {rate_name} of {rate:g}",
            f"{count:,}",
            "give more people or a higher rate",
        )


def threshold_at_fmr(embedding: Floats, labels: Ints, fmr: float, seed: int = 0) -> ImpostorThreshold:
    """The lowest threshold whose FMR over all pairs of different people is at most `fmr`.

    The interval is a percentile bootstrap over people: each resample draws people with replacement, and weights a pair
    by how often both of its people were drawn.

    Args:
        embedding: (N, K) of unit length.
        labels: (N,) the person of each.
        fmr: The highest false match rate.
        seed: Seed of the random numbers.

    Returns:
        The threshold.

    Raises:
        InvalidArgumentError: There are too few impostor pairs to measure this rate.
    """
    total = count_impostor_pairs(labels, fmr)
    people, label = np.unique(labels, return_inverse=True)
    counts = np.bincount(label)
    values, first, second = _highest_impostors(embedding, label, KEPT_SHARE * math.ceil(fmr * total))
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(BOOTSTRAP):
        weight = np.bincount(rng.integers(0, len(people), len(people)), minlength=len(people))
        mass = weight * counts
        drawn_total = (int(mass.sum()) ** 2 - int((mass**2).sum())) / 2
        found.append(_lowest_threshold(values, weight[first] * weight[second], fmr * drawn_total))
    low, high = np.percentile(found, (2.5, 97.5))
    value = _lowest_threshold(values, np.ones(len(values)), fmr * total)
    return ImpostorThreshold(fmr, value, (float(low), float(high)), total, len(people))


def count_impostor_pairs(labels: Ints, fmr: float) -> int:
    """The number of pairs of different people (N,), which must be enough to measure `fmr`.

    Raises:
        InvalidArgumentError: They are too few.
    """
    counts = np.unique(labels, return_counts=True)[1]
    total = (len(labels) ** 2 - int((counts**2).sum())) // 2
    check_supported(fmr, total, "impostor pairs", "an FMR")
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
        floor = values.min() if len(values) == keep else -np.inf  # nothing below it can be among the highest
        row, column = np.nonzero(later & (rows[:, None] != label) & (similarity > floor))
        values = np.concatenate([values, similarity[row, column]])
        first, second = np.concatenate([first, rows[row]]), np.concatenate([second, label[column]])
        if len(values) > keep:
            best = np.argpartition(values, -keep)[-keep:]
            values, first, second = values[best], first[best], second[best]
    order = np.argsort(-values, kind="stable")
    return values[order], first[order], second[order]


def _lowest_threshold(values: Floats, weights: npt.NDArray[np.generic], allowed: float) -> float:
    """The lowest threshold that at most a weight of `allowed` reaches. `values` fall.

    It is midway between the last similarity that reaches it and the first that does not.
    """
    reached = np.cumsum(weights)
    # Equal similarities pass or fail together: what counts is the weight at the end of each run of equals.
    ends = np.flatnonzero(np.append(values[1:] != values[:-1], True))
    passing = ends[reached[ends] <= allowed]
    last = int(passing[-1]) if len(passing) else -1
    above = float(values[last]) if last >= 0 else 1.0
    below = float(values[last + 1]) if last + 1 < len(values) else float(values[-1])
    return (above + below) / 2
