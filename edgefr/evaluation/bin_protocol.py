"""Upstream's protocol on its verification files: both flips, squared distances, ten folds.

Source: insightface, `recognition/arcface_torch/eval/verification.py` (`test`, `calculate_roc`), whose accuracies these
are. Its TAR, interpolated between thresholds where the FAR need not be monotone, is not: take `tar_at_far` of the
comparisons.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgefr.errors import EdgefrError
from edgefr.evaluation.bootstrap import Estimate, interval, resampled_sums, share
from edgefr.evaluation.error_rates import Accuracy, Comparisons
from edgefr.types import Bools, Doubles, Floats, Ints

FOLDS = 10
THRESHOLDS = np.arange(0, 4, 0.01)
"""Squared distances of unit vectors; a pair is taken for one person below."""


@dataclass(frozen=True)
class BinResult:
    """`accuracy` is the mean over the folds with their population standard deviation, `threshold` (10,) the squared
    distance that decided each fold.

    The files do not say who their people are. Each pair stands for a person of its own, so that intervals are of a
    bootstrap over pairs: somewhat too narrow, for pictures and people return.
    """

    accuracy: Accuracy
    threshold: Doubles
    comparisons: Comparisons


def kfold(first: Floats, second: Floats, same: Bools) -> BinResult:
    """Ten unshuffled folds, each decided with the threshold that is best on the other nine (the lowest of equals).

    `first` and `second` (P, K) are of any length, `same` (P,).

    Raises:
        EdgefrError: fewer than ten pairs.
    """
    if len(same) < FOLDS:
        raise EdgefrError(f"at least {FOLDS} pairs, one a fold", str(len(same)), "give a whole .bin file")
    distance = np.square(unit(first) - unit(second)).sum(1)
    fold = np.repeat(np.arange(FOLDS), [len(part) for part in np.array_split(same, FOLDS)])
    # The first threshold above each distance: from it on, the pair is taken for one person.
    bucket = np.searchsorted(THRESHOLDS, distance, side="right")
    right = np.stack([_right(bucket[fold == number], same[fold == number]) for number in range(FOLDS)])  # (10, T)
    best = np.argmax(right.sum(0) - right, axis=1)  # (10,)
    decided = (bucket <= best[fold]) == same
    accuracies = np.array([decided[fold == number].mean() for number in range(FOLDS)])
    pair = np.arange(len(same))
    people = np.stack([pair, pair], axis=1)
    sums = resampled_sums(np.column_stack([decided, np.ones(len(same))]), people)
    estimate = Estimate(float(accuracies.mean()), interval(share(sums[:, 0], sums[:, 1])))
    similarity = (1 - distance / 2).astype(np.float32)
    return BinResult(
        Accuracy(estimate, float(accuracies.std()), decided), THRESHOLDS[best], Comparisons(similarity, same, people)
    )


def _right(bucket: Ints, same: Bools) -> Ints:
    """How many of these pairs each threshold decides rightly: (T,)."""
    count = len(THRESHOLDS)
    accepted, wrongly = (np.bincount(bucket[kind], minlength=count + 1).cumsum()[:count] for kind in (same, ~same))
    return np.asarray(accepted + (~same).sum() - wrongly)


def unit(raw: Floats) -> Doubles:
    """(N, K) -> the same of unit length; zeros stay zeros, as in scikit-learn's `normalize`."""
    length = np.linalg.norm(raw.astype(np.float64), axis=1, keepdims=True)
    return raw / np.where(length > 0, length, 1)
