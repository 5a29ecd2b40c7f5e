"""The figures of an evaluation: of every system in every trial, and pooled over all degraded trials."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from edgefr.evaluation.bootstrap import Estimate, accuracy_difference, error_ratio, resampled_share
from edgefr.evaluation.error_rates import FAILURE, Accuracy, Comparisons, TarAtFar, equal_error_rate, tar_at_far
from edgefr.evaluation.error_versus_discard import DiscardCurve, discard_curve, threshold_at_fnmr
from edgefr.evaluation.fmr_thresholds import comparisons_needed
from edgefr.evaluation.model_set import CONCATENATION
from edgefr.evaluation.protocols import ExtraFigure, Trial
from edgefr.types import Bools, Ints

FARS = (1e-2, 1e-3, 1e-4, 1e-5)

FNMR_AT_START = 0.05
"""FNMR of all comparisons before any is discarded. It fixes the threshold of a discard curve."""

Pair = tuple[str, str] | None
"""The two systems the better of which the candidate has to beat."""


@dataclass(frozen=True)
class BackboneComparison:
    """A system's errors divided by those of the better backbone, and its accuracy minus that of the concatenation."""

    ratio: Estimate
    better: str
    gain: Estimate


@dataclass(frozen=True)
class CandidateComparison:
    """The candidate's errors divided by those of another system, and its accuracy minus that system's."""

    model: str
    ratio: Estimate
    gain: Estimate


@dataclass(frozen=True)
class SystemFigures:
    """The figures of one system in one trial. `tar` has None if there are too few impostors. `against` is None
    without backbones, `judged` (the candidate compared with this system) for the candidate itself.
    """

    system: str
    accuracy: Accuracy | None
    against: BackboneComparison | None
    judged: CandidateComparison | None
    eer: Estimate
    tar: dict[float, TarAtFar | None]
    others: dict[str, ExtraFigure]


@dataclass(frozen=True)
class PooledFigures:
    """The figures of one system over all degraded trials, each decided with the thresholds of its own trial."""

    system: str
    errors: int
    decisions: int
    accuracy: Estimate
    against: BackboneComparison | None
    judged: CandidateComparison | None


@dataclass(frozen=True)
class SignalFigures:
    """Error against discard for one quality signal of the candidate's comparisons, over all degraded trials."""

    signal: str
    curve: DiscardCurve


def trial_figures(trial: Trial, pair: Pair, progress: Callable[[int], None]) -> list[SystemFigures]:
    """The figures of every system in a trial, those of the candidate first. `progress` counts systems.

    Raises:
        EdgefrError: The trial has no genuine or no impostor comparison.
    """
    right = {name: accuracy.right for name, accuracy in trial.accuracy.items()}
    people = next(iter(trial.comparisons.values())).people
    against, judged = compare_with_backbones(right, people, pair), compare_candidate(right, people)
    found = []
    for name, comparisons in trial.comparisons.items():
        impostors = int((~comparisons.same).sum())
        tar = {far: tar_at_far(comparisons, far) if impostors >= comparisons_needed(far) else None for far in FARS}
        found.append(
            SystemFigures(
                name,
                trial.accuracy.get(name),
                against.get(name),
                judged.get(name),
                equal_error_rate(comparisons),
                tar,
                trial.others.get(name, {}),
            )
        )
        progress(1)
    return found


def pooled_figures(trials: Sequence[Trial], pair: Pair) -> list[PooledFigures]:
    """The figures of every system over all degraded trials with folds; empty if there is no such trial."""
    if not any(trial.degraded and trial.accuracy for trial in trials):
        return []
    right, people = degraded_decisions(trials)
    against, judged = compare_with_backbones(right, people, pair), compare_candidate(right, people)
    return [
        PooledFigures(
            name,
            int((~decided).sum()),
            len(decided),
            resampled_share(decided, people),
            against.get(name),
            judged.get(name),
        )
        for name, decided in right.items()
    ]


def degraded_decisions(trials: Sequence[Trial]) -> tuple[dict[str, Bools], Ints]:
    """Which of its P decisions over all degraded trials with folds are right for each system, and their people (P,
    2).
    """
    degraded = [trial for trial in trials if trial.degraded and trial.accuracy]
    right = {name: np.concatenate([trial.accuracy[name].right for trial in degraded]) for name in degraded[0].accuracy}
    return right, _people(degraded)


def compare_with_backbones(right: dict[str, Bools], people: Ints, pair: Pair) -> dict[str, BackboneComparison]:
    """Compare every system with the better backbone and the concatenation on the same decisions. `right` has for
    each system which of its P decisions are right, `people` (P, 2) the people. Empty without backbones.
    """
    if pair is None or not right:
        return {}
    better = max(pair, key=lambda name: int(right[name].sum()))
    return {
        name: BackboneComparison(
            error_ratio(decided, right[better], people),
            better,
            accuracy_difference(decided, right[CONCATENATION], people),
        )
        for name, decided in right.items()
    }


def compare_candidate(right: dict[str, Bools], people: Ints) -> dict[str, CandidateComparison]:
    """Compare the first system with every other one on the same decisions (P,) of `people` (P, 2)."""
    first = next(iter(right), "")
    return {
        name: CandidateComparison(
            first, error_ratio(right[first], decided, people), accuracy_difference(right[first], decided, people)
        )
        for name, decided in right.items()
        if name != first
    }


def signal_figures(trials: Sequence[Trial], candidate: str) -> list[SignalFigures]:
    """Error against discard of every quality signal that all degraded trials have, over genuine comparisons of two
    faces. Empty if there is no signal, or if no comparison of the candidate fails.
    """
    degraded = [trial for trial in trials if trial.degraded and trial.quality]
    if not degraded:
        return []
    people = _people(degraded)
    similarity = np.concatenate([trial.comparisons[candidate].similarity for trial in degraded])
    same = np.concatenate([trial.comparisons[candidate].same for trial in degraded])
    kept = same & (similarity > FAILURE)
    comparisons = Comparisons(similarity[kept], same[kept], people[kept])
    threshold = threshold_at_fnmr(comparisons, FNMR_AT_START)
    if not (comparisons.similarity < threshold).any():
        return []
    found = []
    for signal in [name for name in degraded[0].quality if all(name in trial.quality for trial in degraded)]:
        quality = np.concatenate([trial.quality[signal] for trial in degraded])[kept]
        found.append(SignalFigures(signal, discard_curve(comparisons, quality, threshold)))
    return found


def _people(trials: Sequence[Trial]) -> Ints:
    """The people (P, 2) of all comparisons. In all trials of a pairs file, a number is the same person."""
    return np.concatenate([next(iter(trial.comparisons.values())).people for trial in trials])
