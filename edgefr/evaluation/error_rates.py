"""Error rates as in ISO/IEC 19795-1, each with an interval over people.

The false match rate (FMR) is the share of impostor comparisons whose similarity reaches the threshold, the false
non-match rate (FNMR) the share of genuine ones whose similarity stays below it. A failure to acquire (FTA), a picture
in which no face was found, has a similarity of -1 to everything, which no threshold accepts: a genuine comparison
with it is a false non-match at every threshold, an impostor one never a false match. These are the generalised
rates, of the whole system and not of its recogniser alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from edgefr.errors import EdgefrError
from edgefr.evaluation.bootstrap import Estimate, interval, resampled_sums, share
from edgefr.evaluation.error_curve import Curve, Rates, equal_error, levels
from edgefr.evaluation.fmr_thresholds import BLOCK, FALSE_MATCHES_NEEDED
from edgefr.types import Bools, Doubles, Floats, Ints

__all__ = [
    "FAILURE",
    "Accuracy",
    "Comparisons",
    "Det",
    "Estimate",
    "TarAtFar",
    "accuracy",
    "best_threshold",
    "check_folds",
    "det",
    "equal_error_rate",
    "error_ratio",
    "everyone",
    "supported",
    "tar_at_far",
]

FAILURE = -1.0
"""The similarity that stands for a picture in which no face was found."""

MOST = 100_000_000
"""Comparisons of everyone with everyone: 14,142 images, 2 GB here and 8 GB while rates are resampled."""

DET_RANKS = 250


@dataclass(frozen=True)
class Comparisons:
    """Similarity (P,) float32 of two pictures, whether they are the `same` person's (P,), and the numbers of both
    people (P, 2) int64; a failure to find a face has the similarity FAILURE.

    Raises:
        EdgefrError: lengths or types differ, or a similarity is not finite.
    """

    similarity: Floats
    same: Bools
    people: Ints

    def __post_init__(self) -> None:
        found = [(array.dtype.name, array.shape) for array in (self.similarity, self.same, self.people)]
        count = self.similarity.shape[:1]
        if found != [("float32", count), ("bool", count), ("int64", (*count, 2))]:
            raise EdgefrError(
                "comparisons as float32 (P), bool (P) and int64 (P,2)", str(found), "correct their making"
            )
        if not np.isfinite(self.similarity).all():
            raise EdgefrError("finite similarities", "others", "give a failure to find a face the similarity -1")

    @cached_property
    def curve(self) -> Curve:
        """Sorted and resampled, once for all figures.

        Raises:
            EdgefrError: there is no genuine or no impostor comparison.
        """
        genuine = int(self.same.sum())
        if not 0 < genuine < len(self.same):
            raise EdgefrError(
                "genuine and impostor comparisons",
                f"{genuine:,} and {len(self.same) - genuine:,}",
                "give several images of a person, and several people",
            )
        return Curve.of(self.similarity, self.same, self.people)


@dataclass(frozen=True)
class Accuracy:
    """Share of right decisions, its population standard deviation over the folds, and which were right (P,)."""

    estimate: Estimate
    fold_std: float
    right: Bools


@dataclass(frozen=True)
class TarAtFar:
    """Share of genuine comparisons accepted (1 - FNMR) at the lowest threshold whose FMR is at most `far`."""

    far: float
    tar: Estimate
    threshold: float
    impostors: int


@dataclass(frozen=True)
class Det:
    """Both rates at rising thresholds, (T,) each: the detection error trade-off, closest where errors are few."""

    threshold: Floats
    fmr: Doubles
    fnmr: Doubles


def accuracy(comparisons: Comparisons, folds: Ints) -> Accuracy:
    """Every fold (P,) decided with the threshold that is best on all others: the LFW protocol (Huang et al. 2007).

    The interval holds the decisions fixed: it is of the people, not of the choice of thresholds.

    Raises:
        EdgefrError: there are fewer than two folds.
    """
    check_folds(folds)
    names = np.unique(folds)
    similarity, same = comparisons.similarity.astype(np.float64), comparisons.same
    right = np.empty(len(same), bool)
    for name in names:
        test = folds == name
        right[test] = (similarity[test] >= best_threshold(similarity[~test], same[~test])) == same[test]
    sums = resampled_sums(np.column_stack([right, np.ones(len(right))]), comparisons.people)
    estimate = Estimate(float(right.mean()), interval(share(sums[:, 0], sums[:, 1])))
    return Accuracy(estimate, float(np.std([right[folds == name].mean() for name in names])), right)


def check_folds(folds: Ints) -> None:
    """Refuse folds (P,) of which none is left to choose a threshold on.

    Raises:
        EdgefrError: there are fewer than two.
    """
    if (count := len(np.unique(folds))) < 2:
        raise EdgefrError("at least two folds", str(count), "give a pairs file with folds, or name more with --folds")


def best_threshold(similarity: Doubles, same: Bools) -> float:
    """The threshold with the most right decisions by similarity >= threshold: (P,), (P,) -> a number midway between
    two similarities, or just outside all; the lowest of several that are equally good, but above FAILURE."""
    found = similarity > FAILURE
    values, place = np.unique(similarity[found], return_inverse=True)
    if len(values) == 0:
        return 1.0
    genuine = np.bincount(place, weights=same[found], minlength=len(values))
    impostor = np.bincount(place, weights=~same[found], minlength=len(values))
    # Right with a threshold just below values[i]: impostors under it, genuine pairs from it on.
    right = np.append(0, np.cumsum(impostor)) + np.append(np.cumsum(genuine[::-1])[::-1], 0)
    edges = np.concatenate([[FAILURE], values, [values[-1] + 1]])
    best = int(np.argmax(right))
    return float((edges[best] + edges[best + 1]) / 2)


def equal_error_rate(comparisons: Comparisons) -> Estimate:
    """The rate at which FMR and FNMR are equal, on the straight line between two thresholds where none is."""
    curve = comparisons.curve
    _, before = equal_error(curve.rates(curve.level))
    near = curve.level[before : before + 2]
    value, _ = equal_error(curve.rates(curve.between(float(near[0]), float(near[-1]))))
    resampled = [equal_error(Rates(*row))[0] for row in zip(curve.resampled.fmr, curve.resampled.fnmr, strict=True)]
    return Estimate(value, interval(np.array(resampled)))


def supported(rate: float, found: int, what: str) -> None:
    """Refuse a rate that so many comparisons cannot measure, by the rule of 30.

    Raises:
        EdgefrError: the rate is none, or `found` are too few; `what` they are is said.
    """
    if not 0 < rate < 1:
        raise EdgefrError("a rate between 0 and 1", f"{rate:g}", "give one such as 1e-3")
    needed = math.ceil(FALSE_MATCHES_NEEDED / rate)
    if found < needed:
        raise EdgefrError(
            f"at least {needed:,} {what} to measure a rate of {rate:g}",
            f"{found:,}",
            "give more people or ask for a higher rate",
        )


def tar_at_far(comparisons: Comparisons, far: float) -> TarAtFar:
    """The share of genuine comparisons accepted at a false match rate of at most `far`.

    Raises:
        EdgefrError: `far` is no rate, or there are fewer than 30 / far impostor comparisons.
    """
    total = len(comparisons.same) - int(comparisons.same.sum())
    supported(far, total, "impostor comparisons")
    curve = comparisons.curve
    allowed = math.floor(far * total)
    allowed += (allowed + 1) / total <= far  # a product may fall just short of a whole number
    # Just above the most similar impostor that has to be kept out; his equals stay out with him.
    threshold = np.nextafter(curve.impostor[-1 - allowed], np.float32(2))
    value = 1 - float(np.searchsorted(curve.genuine, threshold)) / len(curve.genuine)
    known = ~np.isnan(curve.resampled.fmr[:, 0])
    lowest = np.argmax(curve.resampled.fmr[known] <= far, axis=1)[:, None]
    resampled = 1 - np.take_along_axis(curve.resampled.fnmr[known], lowest, axis=1)[:, 0]
    return TarAtFar(far, Estimate(value, interval(resampled)), float(threshold), total)


def det(comparisons: Comparisons) -> Det:
    """The curve of both rates at no more than 500 thresholds, all of them above FAILURE.

    Raises:
        EdgefrError: there is no genuine or no impostor comparison.
    """
    curve = comparisons.curve
    genuine, impostor = (kind[kind > FAILURE] for kind in (curve.genuine, curve.impostor))
    threshold = levels(genuine, impostor, DET_RANKS)
    rates = curve.rates(threshold)
    return Det(threshold, rates.fmr[:-1], rates.fnmr[:-1])


def everyone(embedding: Floats, labels: Ints) -> Comparisons:
    """All against all, each pair once: (N, K) of unit length and (N,) people -> N (N - 1) / 2 comparisons.

    A row of NaN stands for an image in which no face was found.

    Raises:
        EdgefrError: there are more than 14,142 images.
    """
    count = len(labels)
    total = count * (count - 1) // 2
    if total > MOST:
        raise EdgefrError(
            f"at most {MOST:,} comparisons of everyone with everyone",
            f"{total:,} of {count:,} images",
            f"give at most {math.isqrt(2 * MOST):,} images",
        )
    similarity, people = np.empty(total, np.float32), np.empty((total, 2), np.int64)
    at = 0
    for start in range(0, count, BLOCK):
        block = embedding[start : start + BLOCK] @ embedding[start:].T  # (BLOCK, N - start)
        row, column = np.triu_indices(len(block), 1, block.shape[1])
        part = slice(at, at + len(row))
        similarity[part] = block[row, column]
        people[part, 0], people[part, 1] = labels[start + row], labels[start + column]
        at += len(row)
    similarity[np.isnan(similarity)] = FAILURE
    return Comparisons(similarity, people[:, 0] == people[:, 1], people)


def error_ratio(right: Bools, other: Bools, people: Ints) -> Estimate:
    """Errors of `right` divided by those of `other`, (P,) each, on the same pairs of `people` (P, 2).

    Paired bootstrap over people. Where `other` makes no error the ratio is infinite, and NaN where `right` makes none
    either; such resamples could mean anything, and widen the interval to both sides.
    """
    wrong = np.column_stack([~right, ~other]).astype(np.float64)
    ours, theirs = resampled_sums(wrong, people).T
    ratio = _ratio(ours, theirs)
    low, _ = interval(np.nan_to_num(ratio, nan=0, posinf=np.inf))
    _, high = interval(np.nan_to_num(ratio, nan=np.inf, posinf=np.inf))
    return Estimate(float(_ratio(*wrong.sum(0)[:, None])[0]), (low, high))


def _ratio(ours: Doubles, theirs: Doubles) -> Doubles:
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio: Doubles = ours / theirs
    return ratio
