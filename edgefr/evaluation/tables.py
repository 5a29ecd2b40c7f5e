"""Figures as tables for people and as a JSON document for scripts. Both have the same numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from edgefr.evaluation.bootstrap import Estimate
from edgefr.evaluation.figures import (
    BackboneComparison,
    CandidateComparison,
    PooledFigures,
    SignalFigures,
    SystemFigures,
)
from edgefr.evaluation.fmr_thresholds import comparisons_needed
from edgefr.evaluation.model_set import CONCATENATION
from edgefr.evaluation.protocols import ExtraFigure, Trial

NONE = "—"


@dataclass(frozen=True)
class Table:
    """Rows of cells under a header, and notes. The first column is text, the others are numbers."""

    title: str
    header: list[str]
    rows: list[list[str]]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Result:
    """A trial and its figures, those of the candidate first."""

    trial: Trial
    figures: list[SystemFigures]

    @property
    def title(self) -> str:
        """Data set and protocol."""
        return f"{self.trial.dataset}: {self.trial.protocol}"


def format_percent(estimate: ExtraFigure) -> str:
    """In %, such as `99.53 [99.27, 99.77]`; without brackets if there is no interval."""
    if estimate is None:
        return NONE
    if not isinstance(estimate, Estimate):
        return f"{100 * estimate:.2f}"
    low, high = estimate.ci95
    return f"{100 * estimate.value:.2f} [{100 * low:.2f}, {100 * high:.2f}]"


def format_points(estimate: Estimate) -> str:
    """A difference in percentage points, such as `+1.20 [+0.80, +1.61]`."""
    low, high = estimate.ci95
    return f"{100 * estimate.value:+.2f} [{100 * low:+.2f}, {100 * high:+.2f}]"


def format_ratio(estimate: Estimate) -> str:
    """A ratio, such as `0.48 [0.41, 0.56]`. It is infinite if the other made no error, and a dash if neither did."""
    value, low, high = (
        NONE if math.isnan(number) else "∞" if math.isinf(number) else f"{number:.2f}"
        for number in (estimate.value, *estimate.ci95)
    )
    return f"{value} [{low}, {high}]"


def describe_trial(trial: Trial) -> str:
    """The comparisons, people and pictures that the figures of a trial are computed from."""
    comparisons = next(iter(trial.comparisons.values()))
    genuine = int(comparisons.same.sum())
    count = count_people(trial)
    whose = f"people unknown: intervals over {trial.units}" if count is None else f"{count:,} people"
    return (
        f"{len(comparisons.same):,} comparisons ({genuine:,} genuine, {len(comparisons.same) - genuine:,} impostor), "
        f"{whose}, {trial.pictures:,} pictures, FTA {trial.failures:,} ({trial.failures / trial.pictures:.2%})"
    )


def count_people(trial: Trial) -> int | None:
    """The number of people who are compared, None if it is not known."""
    compared = next(iter(trial.comparisons.values())).people
    return len(set(compared.ravel().tolist())) if trial.units == "people" else None


def pooled_table(pooled: Sequence[PooledFigures]) -> Table:
    """The main table: errors over all degraded and mixed protocols."""
    against = next((entry.against for entry in pooled if entry.against), None)
    compared, candidate = len(pooled) > 1, pooled[0].system
    rows = [
        [
            entry.system,
            f"{entry.errors:,} of {entry.decisions:,}",
            format_percent(entry.accuracy),
            *_against(entry.against),
        ]
        + (candidate_cells(entry.judged) if compared else [])
        for entry in pooled
    ]
    header = ["system", "errors", "accuracy, %", *_against_header(against)]
    header += candidate_header(candidate) if compared else []
    notes = ("Each fold is decided with the threshold that is best on the other folds of its protocol.",)
    return Table("Pooled over all degraded and mixed protocols", header, rows, notes + _notes(against))


def accuracy_table(results: Sequence[Result]) -> Table:
    """Accuracies: a row for every trial with folds, a column for every system."""
    systems = [entry.system for entry in results[0].figures]
    rows = [
        [
            result.title,
            *(NONE if entry.accuracy is None else format_percent(entry.accuracy.estimate) for entry in result.figures),
        ]
        for result in results
    ]
    return Table("Accuracy, %", ["protocol", *systems], rows)


def trial_table(result: Result) -> Table:
    """All figures of one trial, a row for every system."""
    first = result.figures[0]
    folds, against = first.accuracy is not None, first.against
    compared = folds and len(result.figures) > 1
    header = ["system", *(["accuracy, %", "fold std"] if folds else []), *_against_header(against)]
    header += [*(candidate_header(first.system) if compared else []), "EER, %"]
    header += [f"TAR at FAR {_power(far)}, %" for far in first.tar]
    rows = []
    for entry in result.figures:
        row = [entry.system]
        if entry.accuracy is not None:
            row += [format_percent(entry.accuracy.estimate), f"{100 * entry.accuracy.fold_std:.2f}"]
        row += [
            *_against(entry.against),
            *(candidate_cells(entry.judged) if compared else []),
            format_percent(entry.eer),
            *(format_percent(None if tar is None else tar.tar) for tar in entry.tar.values()),
        ]
        rows.append(row)
    notes = [describe_trial(result.trial), *_notes(against)]
    if missing := [far for far, tar in first.tar.items() if tar is None]:
        needed = ", ".join(f"{_power(far)} needs {comparisons_needed(far):,}" for far in missing)
        notes.append(f"{NONE} means too few impostor comparisons for this FAR (rule of 30): {needed}.")
    return Table(result.title, header, rows, tuple(notes))


def others_table(result: Result) -> Table | None:
    """Figures of identification and of upstream's protocols, None if a trial has none."""
    names = list(result.figures[0].others)
    if not names:
        return None
    rows = [[entry.system, *(format_percent(entry.others[name]) for name in names)] for entry in result.figures]
    notes = (f"Numbers without an interval are computed as upstream does. {NONE} means too few searches.",)
    return Table(f"{result.title}, further", ["system", *(f"{name}, %" for name in names)], rows, notes)


def discards_table(found: Sequence[SignalFigures]) -> Table:
    """Error against discard of each quality signal."""
    rows = [
        [entry.signal, format_percent(entry.curve.area), format_ratio(entry.curve.relative)]
        for entry in sorted(found, key=lambda entry: entry.curve.area.value)
    ]
    note = (
        "Genuine comparisons of all degraded and mixed protocols; those of the poorest quality are discarded first, "
        f"up to {found[0].curve.discarded[-1]:.0%}. Mean FNMR over that range, lower is better; relative: 0 if the "
        "comparisons that fail were discarded first, 1 for a useless signal."
    )
    return Table("Quality signals", ["signal, higher is better", "mean FNMR, %", "relative"], rows, (note,))


def json_document(
    results: Sequence[Result], pooled: Sequence[PooledFigures], found: Sequence[SignalFigures]
) -> dict[str, Any]:
    """All figures as JSON values: shares, not percentages."""
    return {
        "trials": [_trial(result) for result in results],
        "pooled": [
            {"system": entry.system, "errors": entry.errors, "decisions": entry.decisions}
            | {"accuracy": _estimate(entry.accuracy)}
            | _against_values(entry.against)
            | _judged_values(entry.judged)
            for entry in pooled
        ],
        "discard": [
            {"signal": entry.signal, "area": _estimate(entry.curve.area), "relative": _estimate(entry.curve.relative)}
            for entry in found
        ],
    }


def _trial(result: Result) -> dict[str, Any]:
    trial = result.trial
    same = next(iter(trial.comparisons.values())).same
    return {
        "dataset": trial.dataset,
        "protocol": trial.protocol,
        "pictures": trial.pictures,
        "people": count_people(trial),
        "genuine": int(same.sum()),
        "impostors": int((~same).sum()),
        "failures_to_acquire": trial.failures,
        "fta": trial.failures / trial.pictures,
        "systems": [_figures(entry) for entry in result.figures],
    }


def _figures(entry: SystemFigures) -> dict[str, Any]:
    accuracy = entry.accuracy
    return {
        "system": entry.system,
        "accuracy": accuracy and _estimate(accuracy.estimate) | {"fold_std": accuracy.fold_std},
        "eer": _estimate(entry.eer),
        "tar": [
            {"far": far, "impostors_needed": comparisons_needed(far)}
            | ({"value": None} if tar is None else _estimate(tar.tar) | {"threshold": tar.threshold})
            for far, tar in entry.tar.items()
        ],
        "others": {name: _estimate(value) for name, value in entry.others.items()},
        **_against_values(entry.against),
        **_judged_values(entry.judged),
    }


def _estimate(estimate: ExtraFigure) -> dict[str, Any]:
    if isinstance(estimate, Estimate):
        return {"value": estimate.value, "ci95": estimate.ci95}
    return {"value": estimate}


def _against_values(against: BackboneComparison | None) -> dict[str, Any]:
    if against is None:
        return {}
    return {
        "error_ratio": _estimate(against.ratio) | {"against": against.better},
        "gain_over_concatenation": _estimate(against.gain),
    }


def _judged_values(judged: CandidateComparison | None) -> dict[str, Any]:
    if judged is None:
        return {}
    return {"judged": {"model": judged.model, "error_ratio": _estimate(judged.ratio), "gain": _estimate(judged.gain)}}


def candidate_header(model: str) -> list[str]:
    """Headers of the columns that compare the candidate with the system of the row."""
    return [f"{model}'s errors / its", f"{model}'s gain over it, points"]


def candidate_cells(judged: CandidateComparison | None) -> list[str]:
    """Cells under `candidate_header`; dashes in the row of the candidate itself."""
    return [NONE, NONE] if judged is None else [format_ratio(judged.ratio), format_points(judged.gain)]


def _against_header(against: BackboneComparison | None) -> list[str]:
    return [] if against is None else ["errors / better backbone's", f"gain over {CONCATENATION}, points"]


def _against(against: BackboneComparison | None) -> list[str]:
    return [] if against is None else [format_ratio(against.ratio), format_points(against.gain)]


def _notes(against: BackboneComparison | None) -> tuple[str, ...]:
    if against is None:
        return ()
    return (
        f"The better backbone, with fewer errors here, is {against.better}.",
        f"The {CONCATENATION} is of unit vectors: its cosine is the mean of both scores, the score average.",
    )


def _power(far: float) -> str:
    """A power of ten, such as `1e-3`."""
    return f"{far:.0e}".replace("e-0", "e-")
