"""The 1:1 protocol of IJB-B and IJB-C: upstream's figures, and those of ISO/IEC 19795-1.

Source: insightface, `recognition/_evaluation_/ijb/ijb_11.py` (norm, detector score and flip all used).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgefr.data.ijb_files import TemplatePairs
from edgefr.evaluation.error_rates import Comparisons, TarAtFar, tar_at_far
from edgefr.evaluation.fmr_thresholds import comparisons_needed
from edgefr.evaluation.ijb_templates import Templates
from edgefr.evaluation.pairs import Pairs, similarities
from edgefr.types import Bools, Doubles, Floats, Ints

FARS = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1)


@dataclass(frozen=True)
class TarRow:
    """TAR near one FAR: `nearest_tar` where the curve comes nearest to it, as upstream prints it whatever the number
    of impostors, and `strict` at or below it; None if there are fewer impostors than the `needed`.
    """

    far: float
    nearest_far: float
    nearest_tar: float
    strict: TarAtFar | None
    needed: int


@dataclass(frozen=True)
class VerificationFigures:
    """The figures of the 1:1 protocol, and the comparisons that they are computed from."""

    rows: tuple[TarRow, ...]
    comparisons: Comparisons


def verify_templates(templates: Templates, pairs: TemplatePairs) -> VerificationFigures:
    """Compare templates. The list of pairs does not say who the people are; templates that match count as one
    person.
    """
    indices = Pairs(templates.index(pairs.first), templates.index(pairs.second), pairs.same)
    person = _people(len(templates.number), indices)
    people = np.stack([person[indices.first], person[indices.second]], axis=1)
    comparisons = Comparisons(similarities(templates.embedding, indices), pairs.same, people)
    impostors = int((~pairs.same).sum())
    far, tar = _roc(comparisons.similarity, comparisons.same)
    rows = []
    for target in FARS:
        needed = comparisons_needed(target)
        nearest = int(np.argmin(np.abs(far - target)))
        strict = tar_at_far(comparisons, target) if impostors >= needed else None
        rows.append(TarRow(target, float(far[nearest]), float(tar[nearest]), strict, needed))
    return VerificationFigures(tuple(rows), comparisons)


def _people(count: int, pairs: Pairs) -> Ints:
    """For each of `count` templates, the smallest index that matching pairs connect it with."""
    first, second = pairs.first[pairs.same], pairs.second[pairs.same]
    person = np.arange(count)
    while not np.array_equal(person[first], person[second]):
        smaller = np.minimum(person[first], person[second])
        for side in (first, second):
            np.minimum.at(person, person[side], smaller)
        person = person[person]
    return person


def _roc(similarity: Floats, same: Bools) -> tuple[Doubles, Doubles]:
    """FAR, falling, and TAR at the corners of scikit-learn's `roc_curve`, reversed as upstream does it.

    Upstream takes the nearest FAR among the corners only, and the larger TAR of equal FAR.
    """
    order = np.argsort(-similarity, kind="stable")
    end = np.append(np.flatnonzero(np.diff(similarity[order])), len(order) - 1)  # of each run of equals
    accepted = np.cumsum(same[order])[end]
    wrongly = end + 1 - accepted
    if len(end) > 2:
        bent = (np.diff(wrongly, 2) != 0) | (np.diff(accepted, 2) != 0)
        corner = np.concatenate([[True], bent, [True]])
        accepted, wrongly = accepted[corner], wrongly[corner]
    far, tar = (np.append(0, counted)[::-1] / counted[-1] for counted in (wrongly, accepted))
    return far, tar
