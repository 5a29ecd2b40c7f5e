"""Measures quality signals by error against discard, as in ISO/IEC 29794-1.

The genuine comparisons of the poorest quality are discarded, share by share, and the false non-match rate (FNMR) of the
others is measured (Grother & Tabassi 2007, Performance of Biometric Quality Measures, IEEE TPAMI 29(4)). A perfect
signal discards exactly the comparisons that fail; a useless one does not change the rate. The quality of a comparison
is that of its poorer picture. Quality is always higher for better pictures.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from edgefr.errors import EdgefrError
from edgefr.evaluation.bootstrap import CURVE, Estimate, PairWeights, draws, interval, share
from edgefr.evaluation.error_rates import Comparisons
from edgefr.evaluation.fmr_thresholds import check_supported
from edgefr.evaluation.pairs import Pairs
from edgefr.types import Bools, Doubles, Floats, Ints

UPTO = 0.3
"""Highest share of comparisons to discard. In practice nobody discards more (Schlett et al. 2023, Considerations on the
Evaluation of Biometric Quality Assessment Algorithms)."""

STEPS = 100


@dataclass(frozen=True)
class DiscardCurve:
    """FNMR of the comparisons that remain when the poorest are discarded.

    Attributes:
        discarded: (D,) shares that are discarded, rising from 0.
        fnmr: (D,) FNMR of the comparisons that remain.
        ideal: (D,) the same if the comparisons that fail were discarded first.
        area: Mean of `fnmr` over the range; lower is better.
        relative: `area` in relation to the ideal (0) and to a useless signal (1).
    """

    discarded: Doubles
    fnmr: Doubles
    ideal: Doubles
    area: Estimate
    relative: Estimate


def discard_curve(
    comparisons: Comparisons, quality: Floats, threshold: float, upto: float = UPTO, seed: int = 0
) -> DiscardCurve:
    """The curve of a quality signal at a fixed threshold.

    Comparisons of equal quality are discarded in random order; the curve is the expectation of that.

    Args:
        comparisons: P comparisons.
        quality: (P,) the quality of each.
        threshold: Genuine comparisons below it fail.
        upto: Highest share to discard.
        seed: Seed of the random numbers.

    Returns:
        The curve with intervals over people.

    Raises:
        EdgefrError: A quality is missing or NaN, or none or all of the genuine comparisons fail.
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
    """The area under the curve of `quality` minus that of `other`, (P,) each, by a paired bootstrap over people; below
    zero if `quality` is better.

    Raises:
        EdgefrError: As for `discard_curve`.
    """
    discarded = np.linspace(0, upto, STEPS + 1)
    orders = [_Order.of(comparisons, signal, threshold) for signal in (quality, other)]
    values = [_mean(order.remaining(order.once, discarded)[0]) for order in orders]
    ours, theirs = (_areas(order, discarded, seed)[:, 0] for order in orders)  # the same people drawn for both
    return Estimate(values[0] - values[1], interval(ours - theirs))


def pair_quality(quality: Floats, pairs: Pairs) -> Floats:
    """The quality of pairs, that of the poorer face: (N,) -> (P,)."""
    lower: Floats = np.minimum(quality[pairs.first], quality[pairs.second])
    return lower


def threshold_at_fnmr(comparisons: Comparisons, fnmr: float) -> float:
    """The highest threshold at which at most the share `fnmr` of the genuine comparisons fails."""
    return _reached_by_all_but(fnmr, comparisons.similarity[comparisons.same])


def quality_limit(quality: Floats, discard: float = 0.01) -> float:
    """The quality that all but the share `discard` of faces (N,) reach: a limit for verification, from clean faces.

    Raises:
        InvalidArgumentError: There are too few faces, by the rule of 30.
    """
    check_supported(discard, len(quality), "faces")
    return _reached_by_all_but(discard, quality)


def _reached_by_all_but(share: float, values: Floats) -> float:
    """The highest of `values` (N,) that at most this share of them stays below."""
    return float(np.sort(values)[math.floor(share * len(values))])


@dataclass(frozen=True)
class _Order:
    """G genuine comparisons from the poorest to the best: whether each fails, their weights, and the last index of
    every run of equal quality."""

    fails: Bools
    people: PairWeights
    ends: Ints

    @classmethod
    def of(cls, comparisons: Comparisons, quality: Floats, threshold: float) -> _Order:
        if quality.shape != comparisons.same.shape or np.isnan(quality).any():
            raise EdgefrError(
                f"a quality for each of {len(comparisons.same)} comparisons",
                f"{np.isnan(quality).sum()} NaN among {quality.shape}",
                "leave out comparisons without a quality",
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
        """The draw in which every person occurs once."""
        return np.ones(self.people.count + 1, np.float32)

    def remaining(self, drawn: Floats, discarded: Doubles) -> tuple[Doubles, Doubles]:
        """FNMR of the comparisons that remain, and the ideal's, (D,) each, for one entry of `draws`."""
        weight = self.people.weights(drawn).astype(np.float64)
        reached = np.append(0, np.cumsum(weight)[self.ends])
        failed = np.append(0, np.cumsum(weight * self.fails)[self.ends])
        total, failing = reached[-1], failed[-1]
        gone = np.interp(discarded * total, reached, failed)  # straight through a run of equals
        left = np.maximum(total * (1 - discarded), np.finfo(float).tiny)
        return (failing - gone) / left, np.maximum(failing - discarded * total, 0) / left


def _areas(order: _Order, discarded: Doubles, seed: int) -> Doubles:
    """Area of the signal, of the ideal and of a useless signal in every resample: (CURVE, 3)."""
    rows = []
    for drawn in draws(order.people.count, CURVE, seed):
        fnmr, ideal = order.remaining(drawn, discarded)
        rows.append((_mean(fnmr), _mean(ideal), fnmr[0]))
    return np.array(rows)


def _mean(curve: Doubles) -> float:
    """The trapezoidal mean of evenly spaced values."""
    return float((curve[1:] + curve[:-1]).mean() / 2)
