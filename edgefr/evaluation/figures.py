"""The figures of an evaluation: of every system in every trial, and pooled over all degraded trials."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from edgefr.evaluation.bootstrap import Estimate, interval, resampled_sums, share
from edgefr.evaluation.error_rates import (
    FAILURE,
    Accuracy,
    Comparisons,
    TarAtFar,
    equal_error_rate,
    error_ratio,
    tar_at_far,
)
from edgefr.evaluation.error_versus_discard import DiscardCurve, discard_curve, threshold_at_fnmr
from edgefr.evaluation.fmr_thresholds import FALSE_MATCHES_NEEDED
from edgefr.evaluation.metrics import accuracy_difference
from edgefr.evaluation.model_set import CONCATENATION
from edgefr.evaluation.protocols import Others, Trial
from edgefr.types import Bools, Ints

FARS = (1e-2, 1e-3, 1e-4, 1e-5)

FNMR_AT_START = 0.05
"""Of all comparisons when none is discarded: a discard curve is of those that fail at a fixed threshold."""

Pair = tuple[str, str] | None
"""The two systems the better of which has to be beaten."""


@dataclass(frozen=True)
class Against:
    """Errors divided by those of the better of the pair, and accuracy less that of the concatenation."""

    ratio: Estimate
    better: str
    gain: Estimate


@dataclass(frozen=True)
class Judged:
    """How the judged `model` does against another system on the same decisions: its errors divided by the other's, its
    accuracy less the other's."""

    model: str
    ratio: Estimate
    gain: Estimate


@dataclass(frozen=True)
class Figures:
    """Of one system in one trial; `tar` has None where the impostors are too few, `against` where there is no pair,
    `judged` for the judged model itself."""

    system: str
    accuracy: Accuracy | None
    against: Against | None
    judged: Judged | None
    eer: Estimate
    tar: dict[float, TarAtFar | None]
    others: dict[str, Others]


@dataclass(frozen=True)
class Pooled:
    """Of one system, over the decisions of all degraded trials, each made with its own trial's thresholds."""

    system: str
    errors: int
    decisions: int
    accuracy: Estimate
    against: Against | None
    judged: Judged | None


@dataclass(frozen=True)
class Discards:
    """What a quality signal of the judged model's comparisons is worth, pooled over the degraded trials."""

    signal: str
    curve: DiscardCurve


def measure(trial: Trial, pair: Pair, advance: Callable[[int], None]) -> list[Figures]:
    """Every system's figures; `advance` is told of each system.

    Raises:
        EdgefrError: the trial has no genuine or no impostor comparison.
    """
    right = {name: accuracy.right for name, accuracy in trial.accuracy.items()}
    people = next(iter(trial.comparisons.values())).people
    against, judged = compare(right, people, pair), judge(right, people)
    found = []
    for name, comparisons in trial.comparisons.items():
        found.append(
            Figures(
                name,
                trial.accuracy.get(name),
                against.get(name),
                judged.get(name),
                equal_error_rate(comparisons),
                {far: _supported_tar(comparisons, far) for far in FARS},
                trial.others.get(name, {}),
            )
        )
        advance(1)
    return found


def impostors_needed(far: float) -> int:
    """How many impostor comparisons the rule of 30 asks for."""
    return math.ceil(FALSE_MATCHES_NEEDED / far)


def pool(trials: Sequence[Trial], pair: Pair) -> list[Pooled]:
    """Every system's figures over all degraded trials with folds; none where there is no such trial."""
    if not any(trial.degraded and trial.accuracy for trial in trials):
        return []
    right, people = decisions(trials)
    against, judged = compare(right, people, pair), judge(right, people)
    return [
        Pooled(
            name,
            int((~decided).sum()),
            len(decided),
            share_right(decided, people),
            against.get(name),
            judged.get(name),
        )
        for name, decided in right.items()
    ]


def decisions(trials: Sequence[Trial]) -> tuple[dict[str, Bools], Ints]:
    """Which decisions of every system were right (P,) over all degraded trials with folds, and whose they are."""
    degraded = [trial for trial in trials if trial.degraded and trial.accuracy]
    right = {name: np.concatenate([trial.accuracy[name].right for trial in degraded]) for name in degraded[0].accuracy}
    return right, _people(degraded)


def compare(right: dict[str, Bools], people: Ints, pair: Pair) -> dict[str, Against]:
    """Every system against the better of the pair and against the concatenation, on the same decisions (P,)."""
    if pair is None or not right:
        return {}
    better = max(pair, key=lambda name: int(right[name].sum()))
    return {
        name: Against(
            error_ratio(decided, right[better], people),
            better,
            accuracy_difference(decided, right[CONCATENATION], people),
        )
        for name, decided in right.items()
    }


def judge(right: dict[str, Bools], people: Ints) -> dict[str, Judged]:
    """The first system against every other, on the same decisions (P,)."""
    first = next(iter(right), "")
    return {
        name: Judged(
            first, error_ratio(right[first], decided, people), accuracy_difference(right[first], decided, people)
        )
        for name, decided in right.items()
        if name != first
    }


def discards(trials: Sequence[Trial], judged: str) -> list[Discards]:
    """Error against discard of every signal, over the genuine comparisons of two faces in all degraded trials."""
    degraded = [trial for trial in trials if trial.degraded and trial.quality]
    if not degraded:
        return []
    people = _people(degraded)
    similarity = np.concatenate([trial.comparisons[judged].similarity for trial in degraded])
    same = np.concatenate([trial.comparisons[judged].same for trial in degraded])
    kept = same & (similarity > FAILURE)
    comparisons = Comparisons(similarity[kept], same[kept], people[kept])
    threshold = threshold_at_fnmr(comparisons, FNMR_AT_START)
    if not (comparisons.similarity < threshold).any():
        return []
    found = []
    for signal in [name for name in degraded[0].quality if all(name in trial.quality for trial in degraded)]:
        quality = np.concatenate([trial.quality[signal] for trial in degraded])[kept]
        found.append(Discards(signal, discard_curve(comparisons, quality, threshold)))
    return found


def _people(trials: Sequence[Trial]) -> Ints:
    """Whose comparisons these are (P, 2): in all trials of a pairs file a number is the same person."""
    return np.concatenate([next(iter(trial.comparisons.values())).people for trial in trials])


def _supported_tar(comparisons: Comparisons, far: float) -> TarAtFar | None:
    impostors = int((~comparisons.same).sum())
    return tar_at_far(comparisons, far) if impostors >= impostors_needed(far) else None


def share_right(right: Bools, people: Ints) -> Estimate:
    """Accuracy of the decisions (P,)."""
    sums = resampled_sums(np.column_stack([right, np.ones(len(right))]), people)
    return Estimate(float(right.mean()), interval(share(sums[:, 0], sums[:, 1])))
