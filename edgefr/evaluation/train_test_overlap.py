"""Was a model trained on the people it is evaluated on? What the manifests of models say of that."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from itertools import groupby
from pathlib import Path

from edgefr.manifest import HeldOut


def common_folds(known: Mapping[str, HeldOut], pairs: str) -> tuple[int, ...]:
    """The folds that every model held out, of those trained with the pairs file of the SHA-256 `pairs`; none where
    no model was, or there is no such fold."""
    folds = [set(held_out.folds) for held_out in known.values() if held_out.pairs == pairs]
    return tuple(sorted(set.intersection(*folds))) if folds else ()


def overlap_warnings(
    known: Mapping[str, HeldOut],
    pairs: str | None,
    folds: Collection[int],
    datasets: Mapping[str, Path],
    digest_of: Callable[[Path], str],
) -> list[str]:
    """A sentence for each model, by name, that was trained on people it is evaluated on, with what to do instead.

    Evaluated are `folds` of the pairs file with the SHA-256 `pairs`, or all of `datasets`; only then `digest_of` is
    asked which collections they are.
    """
    found = []
    for name, held_out in known.items():
        mend = "take other people"
        if held_out.folds:
            mend = f"give --folds {format_folds(held_out.folds)} for those held out"
        if pairs is not None and held_out.pairs == pairs:
            if seen := set(folds) - set(held_out.folds):
                found.append(
                    f"{name} was trained on people of folds {format_folds(seen)}, its figures are too good: {mend}"
                )
        elif same := [dataset for dataset, path in datasets.items() if digest_of(path) == held_out.faces]:
            if held_out.folds:
                theirs = format_folds(held_out.folds)
                mend = f"give its pairs file with --pairs (SHA-256 {held_out.pairs}), and --folds {theirs}"
            found.append(f"{name} was trained on people of {', '.join(same)}, its figures are too good: {mend}")
    return found


def format_folds(folds: Collection[int]) -> str:
    """`1,3,6-10`."""
    runs = [
        [fold for _, fold in run] for _, run in groupby(enumerate(sorted(folds)), lambda entry: entry[1] - entry[0])
    ]
    return ",".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)
