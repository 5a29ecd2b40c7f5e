"""Figures as tables for people and as a document for scripts; both state the same numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from edgefr.evaluation.bootstrap import Estimate
from edgefr.evaluation.figures import Against, Discards, Figures, Judged, Pooled, impostors_needed
from edgefr.evaluation.model_set import CONCATENATION
from edgefr.evaluation.protocols import Others, Trial

NONE = "—"


@dataclass(frozen=True)
class Table:
    """`rows` under `header`, the first column text, the others numbers; `notes` below say what the numbers are."""

    title: str
    header: list[str]
    rows: list[list[str]]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Result:
    """A trial and its figures, the judged model's first."""

    trial: Trial
    figures: list[Figures]

    @property
    def title(self) -> str:
        return f"{self.trial.dataset}: {self.trial.protocol}"


def percent(estimate: Others) -> str:
    """`99.53 [99.27, 99.77]`, in %; a figure without an interval is bare."""
    if estimate is None:
        return NONE
    if not isinstance(estimate, Estimate):
        return f"{100 * estimate:.2f}"
    low, high = estimate.ci95
    return f"{100 * estimate.value:.2f} [{100 * low:.2f}, {100 * high:.2f}]"


def points(estimate: Estimate) -> str:
    """`+1.20 [+0.80, +1.61]`, a difference in percentage points."""
    low, high = estimate.ci95
    return f"{100 * estimate.value:+.2f} [{100 * low:+.2f}, {100 * high:+.2f}]"


def times(estimate: Estimate) -> str:
    """`0.48 [0.41, 0.56]`; infinite where the other made no error, nothing where neither did."""
    value, low, high = (
        NONE if math.isnan(number) else "∞" if math.isinf(number) else f"{number:.2f}"
        for number in (estimate.value, *estimate.ci95)
    )
    return f"{value} [{low}, {high}]"


def facts(trial: Trial) -> str:
    """What a trial's figures are of."""
    comparisons = next(iter(trial.comparisons.values()))
    genuine = int(comparisons.same.sum())
    count = people(trial)
    whose = f"people unknown: intervals over {trial.units}" if count is None else f"{count:,} people"
    return (
        f"{len(comparisons.same):,} comparisons ({genuine:,} genuine, {len(comparisons.same) - genuine:,} impostor), "
        f"{whose}, {trial.pictures:,} pictures, FTA {trial.failures:,} ({trial.failures / trial.pictures:.2%})"
    )


def people(trial: Trial) -> int | None:
    """How many people are compared, if that is known."""
    compared = next(iter(trial.comparisons.values())).people
    return len(set(compared.ravel().tolist())) if trial.units == "people" else None


def pooled_table(pooled: Sequence[Pooled]) -> Table:
    """The headline: errors over all degraded and mixed protocols."""
    against = next((entry.against for entry in pooled if entry.against), None)
    rivals, judged = len(pooled) > 1, pooled[0].system
    rows = [
        [entry.system, f"{entry.errors:,} of {entry.decisions:,}", percent(entry.accuracy), *_against(entry.against)]
        + (judged_cells(entry.judged) if rivals else [])
        for entry in pooled
    ]
    header = ["system", "errors", "accuracy, %", *_against_header(against)]
    header += judged_header(judged) if rivals else []
    notes = ("Each protocol's decisions by thresholds that are best on its other folds, then counted together.",)
    return Table("Pooled over all degraded and mixed protocols", header, rows, notes + _notes(against))


def accuracy_table(results: Sequence[Result]) -> Table:
    """A row for every trial with folds, a column for every system."""
    systems = [entry.system for entry in results[0].figures]
    rows = [
        [
            result.title,
            *(NONE if entry.accuracy is None else percent(entry.accuracy.estimate) for entry in result.figures),
        ]
        for result in results
    ]
    return Table("Accuracy, %", ["protocol", *systems], rows)


def trial_table(result: Result) -> Table:
    """Everything of one trial, a row for every system."""
    first = result.figures[0]
    folds, against = first.accuracy is not None, first.against
    rivals = folds and len(result.figures) > 1
    header = ["system", *(["accuracy, %", "fold std"] if folds else []), *_against_header(against)]
    header += [*(judged_header(first.system) if rivals else []), "EER, %"]
    header += [f"TAR at FAR {_power(far)}, %" for far in first.tar]
    rows = []
    for entry in result.figures:
        row = [entry.system]
        if entry.accuracy is not None:
            row += [percent(entry.accuracy.estimate), f"{100 * entry.accuracy.fold_std:.2f}"]
        row += [
            *_against(entry.against),
            *(judged_cells(entry.judged) if rivals else []),
            percent(entry.eer),
            *(percent(None if tar is None else tar.tar) for tar in entry.tar.values()),
        ]
        rows.append(row)
    notes = [facts(result.trial), *_notes(against)]
    if missing := [far for far, tar in first.tar.items() if tar is None]:
        needed = ", ".join(f"{_power(far)} needs {impostors_needed(far):,}" for far in missing)
        notes.append(f"{NONE} too few impostor comparisons for this FAR (the rule of 30): {needed}.")
    return Table(result.title, header, rows, tuple(notes))


def others_table(result: Result) -> Table | None:
    """Identification, and what upstream prints, where a trial has them."""
    names = list(result.figures[0].others)
    if not names:
        return None
    rows = [[entry.system, *(percent(entry.others[name]) for name in names)] for entry in result.figures]
    notes = (
        "Bare numbers are as upstream computes them, without an interval. " + NONE + " stands for too few searches.",
    )
    return Table(f"{result.title}, further", ["system", *(f"{name}, %" for name in names)], rows, notes)


def discards_table(found: Sequence[Discards]) -> Table:
    """What each quality signal is worth."""
    rows = [
        [entry.signal, percent(entry.curve.area), times(entry.curve.relative)]
        for entry in sorted(found, key=lambda entry: entry.curve.area.value)
    ]
    note = (
        "Genuine comparisons of all degraded and mixed protocols; those of the poorest quality are discarded first, "
        f"up to {found[0].curve.discarded[-1]:.0%}. Mean FNMR over that range, lower is better; relative: 0 if the "
        "comparisons that fail went first, 1 for a signal that knows nothing."
    )
    return Table("Quality signals", ["signal, higher is better", "mean FNMR, %", "relative"], rows, (note,))


def document(results: Sequence[Result], pooled: Sequence[Pooled], found: Sequence[Discards]) -> dict[str, Any]:
    """The same as values for JSON; shares, not percentages."""
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
        "people": people(trial),
        "genuine": int(same.sum()),
        "impostors": int((~same).sum()),
        "failures_to_acquire": trial.failures,
        "fta": trial.failures / trial.pictures,
        "systems": [_figures(entry) for entry in result.figures],
    }


def _figures(entry: Figures) -> dict[str, Any]:
    accuracy = entry.accuracy
    return {
        "system": entry.system,
        "accuracy": accuracy and _estimate(accuracy.estimate) | {"fold_std": accuracy.fold_std},
        "eer": _estimate(entry.eer),
        "tar": [
            {"far": far, "impostors_needed": impostors_needed(far)}
            | ({"value": None} if tar is None else _estimate(tar.tar) | {"threshold": tar.threshold})
            for far, tar in entry.tar.items()
        ],
        "others": {name: _estimate(value) for name, value in entry.others.items()},
        **_against_values(entry.against),
        **_judged_values(entry.judged),
    }


def _estimate(estimate: Others) -> dict[str, Any]:
    if isinstance(estimate, Estimate):
        return {"value": estimate.value, "ci95": estimate.ci95}
    return {"value": estimate}


def _against_values(against: Against | None) -> dict[str, Any]:
    if against is None:
        return {}
    return {
        "error_ratio": _estimate(against.ratio) | {"against": against.better},
        "gain_over_concatenation": _estimate(against.gain),
    }


def _judged_values(judged: Judged | None) -> dict[str, Any]:
    if judged is None:
        return {}
    return {"judged": {"model": judged.model, "error_ratio": _estimate(judged.ratio), "gain": _estimate(judged.gain)}}


def judged_header(model: str) -> list[str]:
    """Of the columns that set the judged model against the system of the row."""
    return [f"{model}'s errors / its", f"{model}'s gain over it, points"]


def judged_cells(judged: Judged | None) -> list[str]:
    """Under `judged_header`; nothing in the judged model's own row."""
    return [NONE, NONE] if judged is None else [times(judged.ratio), points(judged.gain)]


def _against_header(against: Against | None) -> list[str]:
    return [] if against is None else ["errors / better backbone's", f"gain over {CONCATENATION}, points"]


def _against(against: Against | None) -> list[str]:
    return [] if against is None else [times(against.ratio), points(against.gain)]


def _notes(against: Against | None) -> tuple[str, ...]:
    if against is None:
        return ()
    return (
        f"The better backbone, with fewer errors here: {against.better}.",
        f"The {CONCATENATION} is of unit vectors: cosine on it is the mean of both scores, the score average.",
    )


def _power(far: float) -> str:
    """`1e-3`."""
    return f"{far:.0e}".replace("e-0", "e-")
