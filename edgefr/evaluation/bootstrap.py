"""Intervals over people: comparisons of one person stand or fall together, so that people are drawn, not pairs.

A resample draws as many people as there are, with replacement. A pair of one person weighs as often as that person
was drawn, a pair of two as often as both were together. This is the pigeonhole bootstrap (Owen 2007, The pigeonhole
bootstrap, Annals of Applied Statistics 1(2)), which errs to the safe side: its variance is not below the truth's.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgefr.types import Doubles, Floats, Ints

DECISIONS = 2000
"""Resamples of right and wrong decisions, which cost little."""
CURVE = 500
"""Resamples of a whole curve of rates."""

CHUNK = 1 << 14
"""Weights looked up at once: what lies in the cache in between takes half the time."""


@dataclass(frozen=True)
class Estimate:
    """A figure and its 95 % interval over people."""

    value: float
    ci95: tuple[float, float]


@dataclass(frozen=True)
class PairWeights:
    """Where to look up both factors of every pair's weight, (P,) each, in what `draws` gives for `count` people."""

    count: int
    first: Ints
    second: Ints

    @classmethod
    def of(cls, people: npt.NDArray[Any]) -> PairWeights:
        """`people` (P, 2), anything that names the two of each pair."""
        distinct = np.unique(people)
        first, second = (np.searchsorted(distinct, people[:, column]) for column in (0, 1))
        # One person's draws are not to be squared: the other factor is the entry behind the last, which is 1.
        return cls(len(distinct), first, np.where(first == second, len(distinct), second))

    def weights(self, drawn: Floats) -> Floats:
        """(count + 1,) from `draws` -> the weight of every pair (P,)."""
        weight = np.empty(len(self.first), np.float32)
        for start in range(0, len(weight), CHUNK):
            part = slice(start, start + CHUNK)
            np.multiply(drawn.take(self.first[part]), drawn.take(self.second[part]), out=weight[part])
        return weight


def draws(count: int, resamples: int, seed: int = 0) -> Iterator[Floats]:
    """How often each of `count` people was drawn in each resample, and a 1 behind them: (count + 1,)."""
    rng = np.random.default_rng(seed)
    for _ in range(resamples):
        drawn = np.bincount(rng.integers(0, count, count), minlength=count + 1)
        drawn[count] = 1
        yield drawn.astype(np.float32)


def resampled_sums(columns: npt.NDArray[Any], people: npt.NDArray[Any], seed: int = 0) -> Doubles:
    """The weighted sum of every column in every resample: (P, C) and the pairs' people (P, 2) -> (DECISIONS, C)."""
    pairs = PairWeights.of(people)
    rows = np.ascontiguousarray(columns.T, np.float64)  # (C, P)
    return np.stack([rows @ pairs.weights(drawn) for drawn in draws(pairs.count, DECISIONS, seed)])


def share(part: Doubles, whole: Doubles) -> Doubles:
    """`part` of `whole`, NaN where the whole is 0: a resample without any such comparison."""
    unknown: Doubles = np.full(np.broadcast_shapes(part.shape, whole.shape), np.nan)
    return np.divide(part, whole, out=unknown, where=whole > 0)


def interval(values: Doubles) -> tuple[float, float]:
    """The middle 95 % of what the resamples gave, (R,); NaN, where one could not tell, is left out.

    Its ends are values that occurred, the outer ones: no mean is formed with an infinite one.
    """
    known = np.sort(values[~np.isnan(values)])
    if len(known) == 0:
        return float("nan"), float("nan")
    last = len(known) - 1
    return float(known[int(np.floor(0.025 * last))]), float(known[int(np.ceil(0.975 * last))])
