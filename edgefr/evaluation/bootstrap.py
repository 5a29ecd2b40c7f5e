"""95 % intervals by a bootstrap over people.

Comparisons of one person are not independent, so people are drawn and not pairs. A resample draws as many people as
there are, with replacement. A pair of pictures of one person weighs as often as that person was drawn, and a pair of
two people as often as both were drawn together. This is the pigeonhole bootstrap (Owen 2007, The pigeonhole bootstrap,
Annals of Applied Statistics 1(2)). It is conservative: its variance is not below the true one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgefr.types import Bools, Doubles, Floats, Ints

DECISIONS = 2000
"""Resamples of right and wrong decisions, which are cheap."""
CURVE = 500
"""Resamples of a whole curve of rates."""

CHUNK = 1 << 14
"""Weights that are looked up at once. It takes half the time if the intermediate arrays fit into the cache."""


@dataclass(frozen=True)
class Estimate:
    """A figure and its 95 % interval over people."""

    value: float
    ci95: tuple[float, float]


@dataclass(frozen=True)
class PairWeights:
    """Where to look up both factors of the weight of each pair, (P,) each, in what `draws` gives for `count` people."""

    count: int
    first: Ints
    second: Ints

    @classmethod
    def of(cls, people: npt.NDArray[Any]) -> PairWeights:
        """The weights of pairs of `people` (P, 2), which are identified by anything."""
        distinct = np.unique(people)
        first, second = (np.searchsorted(distinct, people[:, column]) for column in (0, 1))
        # The draws of one person must not be squared: the second factor is then the entry behind the last, which is 1.
        return cls(len(distinct), first, np.where(first == second, len(distinct), second))

    def weights(self, drawn: Floats) -> Floats:
        """(count + 1,) from `draws` -> the weight of every pair (P,)."""
        weight = np.empty(len(self.first), np.float32)
        for start in range(0, len(weight), CHUNK):
            part = slice(start, start + CHUNK)
            np.multiply(drawn.take(self.first[part]), drawn.take(self.second[part]), out=weight[part])
        return weight


def draws(count: int, resamples: int, seed: int = 0) -> Iterator[Floats]:
    """How often each of `count` people is drawn in each resample, followed by a 1: (count + 1,)."""
    rng = np.random.default_rng(seed)
    for _ in range(resamples):
        drawn = np.bincount(rng.integers(0, count, count), minlength=count + 1)
        drawn[count] = 1
        yield drawn.astype(np.float32)


def resampled_sums(columns: npt.NDArray[Any], people: npt.NDArray[Any], seed: int = 0) -> Doubles:
    """The weighted sum of every column in every resample: (P, C) and the people (P, 2) -> (DECISIONS, C)."""
    pairs = PairWeights.of(people)
    rows = np.ascontiguousarray(columns.T, np.float64)  # (C, P)
    return np.stack([rows @ pairs.weights(drawn) for drawn in draws(pairs.count, DECISIONS, seed)])


def resampled_share(hits: npt.NDArray[Any], people: npt.NDArray[Any], seed: int = 0) -> Estimate:
    """The mean of one value per pair, as `resampled_shares`: (P,) -> one estimate."""
    return resampled_shares(hits[:, None], people, seed)[0]


def resampled_shares(hits: npt.NDArray[Any], people: npt.NDArray[Any], seed: int = 0) -> list[Estimate]:
    """The mean of each of C columns (P, C), with its interval over the people (P, 2) of the pairs."""
    sums = resampled_sums(np.column_stack([hits, np.ones(len(hits))]), people, seed)
    shares = share(sums[:, :-1], sums[:, -1:])
    return [Estimate(float(hits[:, column].mean()), interval(shares[:, column])) for column in range(hits.shape[1])]


def share(part: Doubles, whole: Doubles) -> Doubles:
    """`part` divided by `whole`; NaN if the whole is 0, for a resample without any such comparison."""
    unknown: Doubles = np.full(np.broadcast_shapes(part.shape, whole.shape), np.nan)
    return np.divide(part, whole, out=unknown, where=whole > 0)


def interval(values: Doubles) -> tuple[float, float]:
    """The middle 95 % of resampled values (R,). NaN, for an undefined value, is left out. Both ends are values that
    occurred, rounded outwards: a mean with an infinite value would be meaningless.
    """
    known = np.sort(values[~np.isnan(values)])
    if len(known) == 0:
        return float("nan"), float("nan")
    last = len(known) - 1
    return float(known[int(np.floor(0.025 * last))]), float(known[int(np.ceil(0.975 * last))])


def accuracy_difference(right: Bools, other: Bools, people: npt.NDArray[Any], seed: int = 0) -> Estimate:
    """The accuracy of one system minus that of another on the same pairs.

    The bootstrap is paired: pairs that are hard for both systems do not widen the interval.

    Args:
        right: (P,) which decisions of the one system are right.
        other: (P,) which decisions of the other are right.
        people: (P, 2), the two people of each pair.
        seed: Seed of the random numbers.

    Returns:
        The difference and its interval.
    """
    return resampled_share(right.astype(np.float64) - other, people, seed)


def error_ratio(right: Bools, other: Bools, people: Ints) -> Estimate:
    """The errors of one system divided by those of another on the same pairs, by a paired bootstrap.

    Args:
        right: (P,) which decisions of the one system are right.
        other: (P,) which decisions of the other are right.
        people: (P, 2), the two people of each pair.

    Returns:
        The ratio and its interval. It is infinite if only the other makes no error, and NaN if neither makes one.
        Resamples without an error could mean anything, and widen the interval to both sides.
    """
    wrong = np.column_stack([~right, ~other]).astype(np.float64)
    ratio = _ratio(*resampled_sums(wrong, people).T)
    low, _ = interval(np.nan_to_num(ratio, nan=0, posinf=np.inf))
    _, high = interval(np.nan_to_num(ratio, nan=np.inf, posinf=np.inf))
    return Estimate(float(_ratio(*wrong.sum(0)[:, None])[0]), (low, high))


def _ratio(ours: Doubles, theirs: Doubles) -> Doubles:
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio: Doubles = ours / theirs
    return ratio
