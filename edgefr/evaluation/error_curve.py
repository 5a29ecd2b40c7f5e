"""Both error rates at every threshold, and the same in every resample of the people: what all figures are read off.

Cost: sorting P comparisons once and, for each of 500 resamples, two look-ups a comparison; everyone's 7.6 million
comparisons take about 15 s on one core (AMD EPYC, Zen 4) and 80 bytes each.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgefr.evaluation.bootstrap import CURVE, PairWeights, draws, share
from edgefr.types import Bools, Doubles, Floats, Ints

RANKS = 2000
"""Levels of the resampled curves: so many ranks of the impostors from above and of the genuine from below, a fixed
ratio apart (0.8 % where there are millions). Where few errors are made every single one has its level."""


@dataclass(frozen=True)
class Rates:
    """FMR, falling, and FNMR, rising, at rising thresholds: (..., T) each."""

    fmr: Doubles
    fnmr: Doubles


@dataclass(frozen=True)
class Curve:
    """The similarities of either kind, rising; levels (L,), rising; and the rates at them in every resample.

    `resampled` holds (R, L + 1): behind the levels stands a threshold that nothing reaches. It is NaN where a
    resample has no comparison of a kind.
    """

    genuine: Floats
    impostor: Floats
    level: Floats
    resampled: Rates

    @classmethod
    def of(cls, similarity: Floats, same: Bools, people: Ints, seed: int = 0) -> Curve:
        """(P,), (P,) and (P, 2); both kinds have to be among them."""
        pairs = PairWeights.of(people)
        order = np.argsort(similarity, kind="stable")
        genuine, impostor = order[same[order]], order[~same[order]]
        level = levels(similarity[genuine], similarity[impostor], RANKS)
        sides = [_Side.of(similarity, pairs, index, level) for index in (genuine, impostor)]
        masses = [[side.mass(drawn) for side in sides] for drawn in draws(pairs.count, CURVE, seed)]
        matches, false_matches = np.moveaxis(np.array(masses), 1, 0)  # (R, L + 1) each
        rates = Rates(share(false_matches, false_matches[:, :1]), 1 - share(matches, matches[:, :1]))
        return cls(similarity[genuine], similarity[impostor], level, rates)

    def rates(self, threshold: npt.NDArray[np.floating]) -> Rates:
        """The exact rates at rising thresholds (T,), and behind them at one that nothing reaches."""
        fmr = 1 - np.searchsorted(self.impostor, threshold) / len(self.impostor)
        return Rates(np.append(fmr, 0), np.append(np.searchsorted(self.genuine, threshold) / len(self.genuine), 1))

    def between(self, low: float, high: float) -> Floats:
        """Every similarity from `low` to `high`: where between two levels the exact rates change."""
        return np.unique(
            np.concatenate([kind[(kind >= low) & (kind <= high)] for kind in (self.genuine, self.impostor)])
        )


@dataclass(frozen=True)
class _Side:
    """The comparisons of one kind in the order of their similarity, and where each level begins among them."""

    pairs: PairWeights
    start: Ints
    place: Ints
    reached: int

    @classmethod
    def of(cls, similarity: Floats, pairs: PairWeights, index: Ints, level: Floats) -> _Side:
        """`index` names the comparisons of this kind, the least similar first."""
        first = np.searchsorted(similarity[index], level)
        start, place = np.unique(first[first < len(index)], return_inverse=True)
        return cls(PairWeights(pairs.count, pairs.first[index], pairs.second[index]), start, place, len(level))

    def mass(self, drawn: Floats) -> Doubles:
        """The weight of all that reaches each level, and behind it 0 for a level that nothing reaches: (L + 1,)."""
        part = np.add.reduceat(self.pairs.weights(drawn), self.start).astype(np.float64)
        mass = np.zeros(self.reached + 1)
        mass[: len(self.place)] = part[::-1].cumsum()[::-1][self.place]
        return mass


def levels(genuine: Floats, impostor: Floats, ranks: int) -> Floats:
    """At most 2 x `ranks` similarities at which the rates are worth knowing, rising, both lowest among them."""
    kinds = [kind for kind in (genuine, impostor[::-1]) if len(kind)]
    chosen = [kind[np.geomspace(1, len(kind), ranks).astype(np.int64) - 1] for kind in kinds]
    return np.unique(np.concatenate([np.empty(0, np.float32), *chosen]))


def equal_error(rates: Rates) -> tuple[float, int]:
    """Where the straight lines between the thresholds of (T,) rates cross, and the threshold before."""
    ahead = rates.fnmr - rates.fmr  # rises from -1, where all is accepted, to 1
    after = max(1, int(np.argmax(ahead >= 0)))
    part = -ahead[after - 1] / (ahead[after] - ahead[after - 1])
    return float(rates.fmr[after - 1] + part * (rates.fmr[after] - rates.fmr[after - 1])), after - 1
