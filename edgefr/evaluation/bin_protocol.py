"""Upstream's protocol for its verification files: both flips, squared distances, ten folds.

Source: insightface, `recognition/arcface_torch/eval/verification.py` (`test`, `calculate_roc`), with the same
accuracies. Its TAR is not reproduced: it is interpolated between thresholds where the FAR need not be monotone. Use
`tar_at_far` of the comparisons instead.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgefr.errors import EdgefrError
from edgefr.evaluation.bootstrap import Estimate, resampled_share
from edgefr.evaluation.error_rates import Accuracy, Comparisons
from edgefr.types import Bools, Doubles, Floats, Ints

FOLDS = 10
THRESHOLDS = np.arange(0, 4, 0.01)
"""Squared distances of unit vectors. Pairs below the threshold count as the same person."""


@dataclass(frozen=True)
class BinResult:
    """Accuracy over the folds, the squared distance (10,) that decided each fold, and the similarities of all pairs.

    The files do not say who the people are. Each pair stands for a person of its own, so the intervals are those of
    a bootstrap over pairs. They are somewhat too narrow, because pictures and people occur in several pairs.
    """

    accuracy: Accuracy
    threshold: Doubles
    comparisons: Comparisons


def kfold(first: Floats, second: Floats, same: Bools) -> BinResult:
    """Decide ten folds, not shuffled, each with the threshold that is best on the other nine (the lowest of equals).

    `first` and `second` (P, K) are embeddings of any length; `same` is (P,).

    Raises:
        EdgefrError: There are fewer than ten pairs.
    """
    if len(same) < FOLDS:
        raise EdgefrError(f"at least {FOLDS} pairs, one for each fold", str(len(same)), "give a whole .bin file")
    distance = np.square(normalise_rows(first) - normalise_rows(second)).sum(1)
    fold = np.repeat(np.arange(FOLDS), [len(part) for part in np.array_split(same, FOLDS)])
    # The first threshold above each distance: from it on, the pair counts as the same person.
    bucket = np.searchsorted(THRESHOLDS, distance, side="right")
    right = np.stack([_right(bucket[fold == number], same[fold == number]) for number in range(FOLDS)])  # (10, T)
    best = np.argmax(right.sum(0) - right, axis=1)  # (10,)
    decided = (bucket <= best[fold]) == same
    accuracies = np.array([decided[fold == number].mean() for number in range(FOLDS)])
    pair = np.arange(len(same))
    people = np.stack([pair, pair], axis=1)
    estimate = Estimate(float(accuracies.mean()), resampled_share(decided, people).ci95)
    similarity = (1 - distance / 2).astype(np.float32)
    return BinResult(
        Accuracy(estimate, float(accuracies.std()), decided), THRESHOLDS[best], Comparisons(similarity, same, people)
    )


def _right(bucket: Ints, same: Bools) -> Ints:
    """How many of these pairs each threshold decides correctly: (T,)."""
    count = len(THRESHOLDS)
    accepted, wrongly = (np.bincount(bucket[kind], minlength=count + 1).cumsum()[:count] for kind in (same, ~same))
    return np.asarray(accepted + (~same).sum() - wrongly)


def normalise_rows(raw: Floats) -> Doubles:
    """(N, K) -> rows of unit length in float64; rows of zeros stay zeros, as in scikit-learn's `normalize`."""
    length = np.linalg.norm(raw.astype(np.float64), axis=1, keepdims=True)
    return raw / np.where(length > 0, length, 1)
