"""Does a quality signal know which comparisons will fail? Error against discard, as in ISO/IEC 29794-1.

The genuine comparisons of the poorest quality are discarded, share by share, and the false non-match rate (FNMR) of
those that remain is looked at (Grother & Tabassi 2007, Performance of Biometric Quality Measures, IEEE TPAMI 29(4)).
A perfect signal discards exactly those that fail; one that knows nothing leaves the rate where it was. The quality of
a comparison is that of its poorer picture. Quality is higher for better pictures throughout.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from edgefr.errors import EdgefrError
from edgefr.evaluation.bootstrap import CURVE, Estimate, PairWeights, draws, interval, share
from edgefr.evaluation.error_rates import Comparisons, supported
from edgefr.evaluation.pairs import Pairs
from edgefr.types import Bools, Doubles, Floats, Ints

UPTO = 0.3
"""The share of comparisons up to which the area is taken: nobody discards more, so nobody is to gain there (Schlett
et al. 2023, Considerations on the Evaluation of Biometric Quality Assessment Algorithms)."""

STEPS = 100


@dataclass(frozen=True)
class DiscardCurve:
    """What remains of a false non-match rate when a share of the genuine comparisons is discarded, the poorest first.

    `discarded` (D,) rises from 0 to the share asked for; `fnmr` (D,) of the comparisons that remain; `ideal` (D,) if
    those that fail had been the first to go. `area` is the mean of `fnmr` over the range, lower is better; `relative`
    says where it lies between the ideal's (0) and that of a signal that knows nothing (1).
    """

    discarded: Doubles
    fnmr: Doubles
    ideal: Doubles
    area: Estimate
    relative: Estimate


def discard_curve(
    comparisons: Comparisons, quality: Floats, threshold: float, upto: float = UPTO, seed: int = 0
) -> DiscardCurve:
    """The curve of a signal, `quality` (P,) of each comparison, at a fixed `threshold`, with intervals over people.

    Comparisons of equal quality are discarded in random order: the curve is what to expect of that.

    Raises:
        EdgefrError: a quality is missing or NaN, or none or all of the genuine comparisons fail at this threshold.
    """
    order = _Order.of(comparisons, quality, threshold)
    discarded = np.linspace(0, upto, STEPS + 1)
    fnmr, ideal = order.remaining(order.once, discarded)
    areas = _areas(order, discarded, seed)  # (CURVE, 3)
    area, best, start = _mean(fnmr), _mean(ideal), float(fnmr[0])
    relative = share(areas[:, 0] - areas[:, 1], areas[:, 2] - areas[:, 1])
    return DiscardCurve(
        discarded,
        fnmr,
        ideal,
        Estimate(area, interval(areas[:, 0])),
        Estimate((area - best) / (start - best), interval(relative)),
    )


def area_difference(
    comparisons: Comparisons, quality: Floats, other: Floats, threshold: float, upto: float = UPTO, seed: int = 0
) -> Estimate:
    """The area under the curve of `quality` minus that of `other`, both (P,): below zero where `quality` is better.

    Paired bootstrap over people.

    Raises:
        EdgefrError: as `discard_curve` does.
    """
    discarded = np.linspace(0, upto, STEPS + 1)
    orders = [_Order.of(comparisons, signal, threshold) for signal in (quality, other)]
    values = [_mean(order.remaining(order.once, discarded)[0]) for order in orders]
    mine, theirs = (_areas(order, discarded, seed)[:, 0] for order in orders)  # the same people drawn for both
    return Estimate(values[0] - values[1], interval(mine - theirs))


def pair_quality(quality: Floats, pairs: Pairs) -> Floats:
    """The poorer quality of both faces of every pair: (N,) -> (P,)."""
    lower: Floats = np.minimum(quality[pairs.first], quality[pairs.second])
    return lower


def threshold_at_fnmr(comparisons: Comparisons, fnmr: float) -> float:
    """The highest threshold at which at most the share `fnmr` of the genuine comparisons fails."""
    return _reached_by_all_but(fnmr, comparisons.similarity[comparisons.same])


def limit_at(quality: Floats, discard: float = 0.01) -> float:
    """The quality that all but the share `discard` of these faces (N,) reach: a limit for `verify`, from clean faces.

    Raises:
        EdgefrError: too few faces to know the limit, by the rule of 30.
    """
    supported(discard, len(quality), "faces")
    return _reached_by_all_but(discard, quality)


def _reached_by_all_but(share: float, values: Floats) -> float:
    """The highest of `values` (N,) that at most this share of them stays below."""
    return float(np.sort(values)[math.floor(share * len(values))])


@dataclass(frozen=True)
class _Order:
    """Genuine comparisons from the poorest to the best: whether each fails, (G,), whose they are, and the last place
    of every run of equal quality."""

    fails: Bools
    people: PairWeights
    ends: Ints

    @classmethod
    def of(cls, comparisons: Comparisons, quality: Floats, threshold: float) -> _Order:
        if quality.shape != comparisons.same.shape or np.isnan(quality).any():
            raise EdgefrError(
                f"a quality for each of {len(comparisons.same)} comparisons",
                f"{np.isnan(quality).sum()} NaN among {quality.shape}",
                "leave out comparisons without quality",
            )
        genuine = np.flatnonzero(comparisons.same)
        genuine = genuine[np.argsort(quality[genuine], kind="stable")]
        fails = comparisons.similarity[genuine] < threshold
        if not 0 < fails.sum() < len(fails):
            raise EdgefrError(
                f"genuine comparisons some of which fail at the threshold {threshold:.3f}",
                f"that {fails.sum():,} of {len(fails):,} do",
                "choose another threshold",
            )
        ordered = quality[genuine]
        ends = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True))
        return cls(fails, PairWeights.of(comparisons.people[genuine]), ends)

    @property
    def once(self) -> Floats:
        """Every person drawn once: the comparisons as they are."""
        return np.ones(self.people.count + 1, np.float32)

    def remaining(self, drawn: Floats, discarded: Doubles) -> tuple[Doubles, Doubles]:
        """FNMR of what remains, and the ideal's, (D,) each, of people drawn as often as `draws` says."""
        weight = self.people.weights(drawn).astype(np.float64)
        reached = np.append(0, np.cumsum(weight)[self.ends])
        failed = np.append(0, np.cumsum(weight * self.fails)[self.ends])
        total, failing = reached[-1], failed[-1]
        gone = np.interp(discarded * total, reached, failed)  # straight through a run of equals
        left = np.maximum(total * (1 - discarded), np.finfo(float).tiny)
        return (failing - gone) / left, np.maximum(failing - discarded * total, 0) / left


def _areas(order: _Order, discarded: Doubles, seed: int) -> Doubles:
    """Area of the signal, of the ideal and of one that knows nothing in every resample: (CURVE, 3)."""
    rows = []
    for drawn in draws(order.people.count, CURVE, seed):
        fnmr, ideal = order.remaining(drawn, discarded)
        rows.append((_mean(fnmr), _mean(ideal), fnmr[0]))
    return np.array(rows)


def _mean(curve: Doubles) -> float:
    """The trapezoidal mean of evenly spaced values."""
    return float((curve[1:] + curve[:-1]).mean() / 2)
