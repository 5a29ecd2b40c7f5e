"""Both error rates at every threshold, and in every resample of the people. All other rates are read from this curve.

P comparisons are sorted once, and looked up twice in each of 500 resamples. 7.6 million comparisons take about 15 s on
one core (AMD EPYC, Zen 4) and 80 bytes each.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgefr.evaluation.bootstrap import CURVE, PairWeights, draws, share
from edgefr.types import Bools, Doubles, Floats, Ints

RANKS = 2000
"""Levels of the resampled curves for each kind: ranks of the impostors from above and of the genuine from below, in a
fixed ratio (0.8 % if there are millions). Where errors are few, every one has a level of its own."""


@dataclass(frozen=True)
class Rates:
    """FMR, falling, and FNMR, rising, at rising thresholds: (..., T) each."""

    fmr: Doubles
    fnmr: Doubles


@dataclass(frozen=True)
class ErrorCurve:
    """The error rates of a set of comparisons.

    Attributes:
        genuine: Similarities of the genuine comparisons, rising.
        impostor: Similarities of the impostor comparisons, rising.
        level: (L,) thresholds, rising.
        resampled: (R, L + 1) rates in every resample at the levels, and at a last threshold that nothing reaches. NaN
            if a resample has no comparison of a kind.
    """

    genuine: Floats
    impostor: Floats
    level: Floats
    resampled: Rates

    @classmethod
    def of(cls, similarity: Floats, same: Bools, people: Ints, seed: int = 0) -> ErrorCurve:
        """Sort and resample comparisons (P,), (P,) and (P, 2). Both kinds must occur."""
        pairs = PairWeights.of(people)
        order = np.argsort(similarity, kind="stable")
        genuine, impostor = order[same[order]], order[~same[order]]
        level = levels(similarity[genuine], similarity[impostor], RANKS)
        kinds = [_Kind.of(similarity, pairs, index, level) for index in (genuine, impostor)]
        masses = [[kind.mass(drawn) for kind in kinds] for drawn in draws(pairs.count, CURVE, seed)]
        matches, false_matches = np.moveaxis(np.array(masses), 1, 0)  # (R, L + 1) each
        rates = Rates(share(false_matches, false_matches[:, :1]), 1 - share(matches, matches[:, :1]))
        return cls(similarity[genuine], similarity[impostor], level, rates)

    def rates(self, threshold: npt.NDArray[np.floating]) -> Rates:
        """The exact rates at rising thresholds (T,) and at a last one that nothing reaches: (T + 1,) each."""
        fmr = 1 - np.searchsorted(self.impostor, threshold) / len(self.impostor)
        return Rates(np.append(fmr, 0), np.append(np.searchsorted(self.genuine, threshold) / len(self.genuine), 1))

    def between(self, low: float, high: float) -> Floats:
        """All similarities from `low` to `high`: the thresholds between two levels at which the rates change."""
        return np.unique(
            np.concatenate([kind[(kind >= low) & (kind <= high)] for kind in (self.genuine, self.impostor)])
        )


@dataclass(frozen=True)
class _Kind:
    """The comparisons of one kind in the order of their similarity, and where each level begins among them."""

    pairs: PairWeights
    start: Ints
    index: Ints
    levels: int

    @classmethod
    def of(cls, similarity: Floats, pairs: PairWeights, order: Ints, level: Floats) -> _Kind:
        """`order` has the comparisons of this kind, the least similar first."""
        first = np.searchsorted(similarity[order], level)
        start, index = np.unique(first[first < len(order)], return_inverse=True)
        return cls(PairWeights(pairs.count, pairs.first[order], pairs.second[order]), start, index, len(level))

    def mass(self, drawn: Floats) -> Doubles:
        """The weight of the comparisons that reach each level, and 0 for a last one that nothing reaches: (L + 1,)."""
        part = np.add.reduceat(self.pairs.weights(drawn), self.start).astype(np.float64)
        mass = np.zeros(self.levels + 1)
        mass[: len(self.index)] = part[::-1].cumsum()[::-1][self.index]
        return mass


def levels(genuine: Floats, impostor: Floats, ranks: int) -> Floats:
    """At most 2 x `ranks` similarities, rising, at which the rates are of interest; the lowest of both are included."""
    kinds = [kind for kind in (genuine, impostor[::-1]) if len(kind)]
    chosen = [kind[np.geomspace(1, len(kind), ranks).astype(np.int64) - 1] for kind in kinds]
    return np.unique(np.concatenate([np.empty(0, np.float32), *chosen]))


def equal_error(rates: Rates) -> tuple[float, int]:
    """The equal error rate on the straight lines between the thresholds of (T,) rates, and the threshold before it."""
    ahead = rates.fnmr - rates.fmr  # rises from -1, where everything is accepted, to 1
    after = max(1, int(np.argmax(ahead >= 0)))
    part = -ahead[after - 1] / (ahead[after] - ahead[after - 1])
    return float(rates.fmr[after - 1] + part * (rates.fmr[after] - rates.fmr[after - 1])), after - 1
