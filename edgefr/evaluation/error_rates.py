"""Error rates of comparisons as in ISO/IEC 19795-1, each with an interval over people.

The false match rate (FMR) is the share of impostor comparisons whose similarity reaches the threshold. The false
non-match rate (FNMR) is the share of genuine comparisons whose similarity stays below it. A failure to acquire (FTA), a
picture in which no face was found, has a similarity of -1 to everything, which no threshold accepts: a genuine
comparison with it is a false non-match at every threshold, and an impostor one is never a false match. The rates are
therefore the generalised ones, of the whole system and not of its recogniser alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from edgefr.errors import EdgefrError, InvalidArgumentError
from edgefr.evaluation.bootstrap import Estimate, interval, resampled_share
from edgefr.evaluation.error_curve import ErrorCurve, Rates, equal_error, levels
from edgefr.evaluation.fmr_thresholds import BLOCK, check_supported
from edgefr.types import Bools, Doubles, Floats, Ints

FAILURE = -1.0
"""The similarity that stands for a picture in which no face was found."""

MAX_COMPARISONS = 100_000_000
"""Most comparisons of all pictures with all: 14,142 pictures, 2 GB here and 8 GB while rates are resampled."""

DET_RANKS = 250


@dataclass(frozen=True)
class Comparisons:
    """P comparisons of two pictures.

    Attributes:
        similarity: (P,) float32. FAILURE if no face was found in one of the pictures.
        same: (P,) bool, whether both show the same person.
        people: (P, 2) int64, the numbers of both people.

    Raises:
        EdgefrError: Lengths or types differ, or a similarity is not finite.
    """

    similarity: Floats
    same: Bools
    people: Ints

    def __post_init__(self) -> None:
        found = [(array.dtype.name, array.shape) for array in (self.similarity, self.same, self.people)]
        count = self.similarity.shape[:1]
        if found != [("float32", count), ("bool", count), ("int64", (*count, 2))]:
            raise EdgefrError("comparisons as float32 (P), bool (P) and int64 (P,2)", str(found), "convert the arrays")
        if not np.isfinite(self.similarity).all():
            raise EdgefrError("finite similarities", "others", "use the similarity -1 if no face was found")

    @cached_property
    def curve(self) -> ErrorCurve:
        """The error rates at all thresholds. They are computed once for all figures.

        Raises:
            EdgefrError: There is no genuine or no impostor comparison.
        """
        genuine = int(self.same.sum())
        if not 0 < genuine < len(self.same):
            raise EdgefrError(
                "genuine and impostor comparisons",
                f"{genuine:,} and {len(self.same) - genuine:,}",
                "give several images of a person, and several people",
            )
        return ErrorCurve.of(self.similarity, self.same, self.people)


@dataclass(frozen=True)
class Accuracy:
    """Share of right decisions, its population standard deviation over the folds, and which decisions are right
    (P,).
    """

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
class DetCurve:
    """Detection error trade-off: both rates at rising thresholds, (T,) each, densest where errors are few."""

    threshold: Floats
    fmr: Doubles
    fnmr: Doubles


def accuracy(comparisons: Comparisons, folds: Ints) -> Accuracy:
    """Accuracy by the LFW protocol (Huang et al. 2007): each of the folds (P,) uses the threshold that is best on the
    others. The interval does not include the choice of thresholds.

    Raises:
        InvalidArgumentError: There are fewer than two folds.
    """
    check_folds(folds)
    names = np.unique(folds)
    similarity, same = comparisons.similarity.astype(np.float64), comparisons.same
    right = np.empty(len(same), bool)
    for name in names:
        test = folds == name
        right[test] = (similarity[test] >= best_threshold(similarity[~test], same[~test])) == same[test]
    fold_std = float(np.std([right[folds == name].mean() for name in names]))
    return Accuracy(resampled_share(right, comparisons.people), fold_std, right)


def check_folds(folds: Ints) -> None:
    """Check that there are at least two folds (P,), so that one is left to choose a threshold on.

    Raises:
        InvalidArgumentError: There are fewer.
    """
    if (count := len(np.unique(folds))) < 2:
        raise InvalidArgumentError(
            "at least two folds", str(count), "give a pairs file with folds, or name more with --folds"
        )


def best_threshold(similarity: Doubles, same: Bools) -> float:
    """The threshold with the most right decisions.

    Args:
        similarity: (P,). Pairs that reach the threshold count as the same person.
        same: (P,) whether they are.

    Returns:
        A number midway between two similarities, or just outside all. It is the lowest of equally good ones above
        FAILURE.
    """
    found = similarity > FAILURE
    values, index = np.unique(similarity[found], return_inverse=True)
    if len(values) == 0:
        return 1.0
    genuine = np.bincount(index, weights=same[found], minlength=len(values))
    impostor = np.bincount(index, weights=~same[found], minlength=len(values))
    # Right with a threshold just below values[i]: impostors under it, genuine pairs from it on.
    right = np.append(0, np.cumsum(impostor)) + np.append(np.cumsum(genuine[::-1])[::-1], 0)
    edges = np.concatenate([[FAILURE], values, [values[-1] + 1]])
    best = int(np.argmax(right))
    return float((edges[best] + edges[best + 1]) / 2)


def equal_error_rate(comparisons: Comparisons) -> Estimate:
    """The rate at which FMR and FNMR are equal, on the straight line between two thresholds if they never are."""
    curve = comparisons.curve
    _, before = equal_error(curve.rates(curve.level))
    near = curve.level[before : before + 2]
    value, _ = equal_error(curve.rates(curve.between(float(near[0]), float(near[-1]))))
    resampled = [equal_error(Rates(*row))[0] for row in zip(curve.resampled.fmr, curve.resampled.fnmr, strict=True)]
    return Estimate(value, interval(np.array(resampled)))


def tar_at_far(comparisons: Comparisons, far: float) -> TarAtFar:
    """The share of genuine comparisons that are accepted at a false match rate of at most `far`.

    Raises:
        InvalidArgumentError: `far` is not between 0 and 1, or there are fewer than 30 / far impostor comparisons.
    """
    total = len(comparisons.same) - int(comparisons.same.sum())
    check_supported(far, total, "impostor comparisons")
    curve = comparisons.curve
    allowed = math.floor(far * total)
    allowed += (allowed + 1) / total <= far  # a product may fall just short of a whole number
    # Just above the most similar impostor that must be rejected; those who are equal to him are rejected, too.
    threshold = np.nextafter(curve.impostor[-1 - allowed], np.float32(2))
    value = 1 - float(np.searchsorted(curve.genuine, threshold)) / len(curve.genuine)
    known = ~np.isnan(curve.resampled.fmr[:, 0])
    lowest = np.argmax(curve.resampled.fmr[known] <= far, axis=1)[:, None]
    resampled = 1 - np.take_along_axis(curve.resampled.fnmr[known], lowest, axis=1)[:, 0]
    return TarAtFar(far, Estimate(value, interval(resampled)), float(threshold), total)


def det_curve(comparisons: Comparisons) -> DetCurve:
    """The curve of both rates at no more than 500 thresholds, all above FAILURE.

    Raises:
        EdgefrError: There is no genuine or no impostor comparison.
    """
    curve = comparisons.curve
    genuine, impostor = (kind[kind > FAILURE] for kind in (curve.genuine, curve.impostor))
    threshold = levels(genuine, impostor, DET_RANKS)
    rates = curve.rates(threshold)
    return DetCurve(threshold, rates.fmr[:-1], rates.fnmr[:-1])


def compare_all(embedding: Floats, labels: Ints) -> Comparisons:
    """Compare all pictures with all others, each pair once: (N, K) embeddings of unit length and (N,) people -> N (N -
    1) / 2 comparisons. A row of NaN stands for a picture in which no face was found.

    Raises:
        InvalidArgumentError: There are more than 14,142 pictures.
    """
    count = len(labels)
    total = count * (count - 1) // 2
    if total > MAX_COMPARISONS:
        raise InvalidArgumentError(
            f"at most {MAX_COMPARISONS:,} comparisons of all images with all",
            f"{total:,} of {count:,} images",
            f"give at most {math.isqrt(2 * MAX_COMPARISONS):,} images",
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
