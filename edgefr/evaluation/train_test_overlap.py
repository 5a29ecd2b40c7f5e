"""Warns if a model was trained on the people it is evaluated on, as far as the manifests of models know it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from itertools import groupby
from pathlib import Path

from edgefr.manifest import HeldOut, model_manifest


def common_folds(known: Mapping[str, HeldOut], pairs: str) -> tuple[int, ...]:
    """The folds that all models held out, of those that were trained with the pairs file of this SHA-256."""
    folds = [set(held_out.folds) for held_out in known.values() if held_out.pairs == pairs]
    return tuple(sorted(set.intersection(*folds))) if folds else ()


def known_held_out(models: Mapping[str, Path]) -> dict[str, HeldOut]:
    """The people that models were not trained on, by name of the model, as far as their manifests state them."""
    manifests = {name: model_manifest(path) for name, path in models.items()}
    return {name: entry.held_out for name, entry in manifests.items() if entry is not None and entry.held_out}


def overlap_warnings(
    known: Mapping[str, HeldOut],
    pairs: str | None,
    folds: Collection[int],
    datasets: Mapping[str, Path],
    digest_of: Callable[[Path], str],
) -> list[str]:
    """Warn of models that were trained on people they are evaluated on.

    Args:
        known: Name of a model -> the people it was not trained on.
        pairs: SHA-256 of the pairs file of the evaluation, if there is one.
        folds: Its folds that are evaluated.
        datasets: Name -> path of the collections that are evaluated.
        digest_of: Computes the digest of a collection. It is called only if it is needed, because it can take long.

    Returns:
        A sentence for each such model, with what to do instead.
    """
    found = []
    for name, held_out in known.items():
        fix = "take other people"
        if held_out.folds:
            fix = f"give --folds {format_folds(held_out.folds)} for those held out"
        if pairs is not None and held_out.pairs == pairs:
            if trained := set(folds) - set(held_out.folds):
                found.append(
                    f"{name} was trained on people of folds {format_folds(trained)}, its figures are too good: {fix}"
                )
        elif same := [dataset for dataset, path in datasets.items() if digest_of(path) == held_out.faces]:
            if held_out.folds:
                theirs = format_folds(held_out.folds)
                fix = f"give its pairs file with --pairs (SHA-256 {held_out.pairs}), and --folds {theirs}"
            found.append(f"{name} was trained on people of {', '.join(same)}, its figures are too good: {fix}")
    return found


def format_folds(folds: Collection[int]) -> str:
    """Folds as text, such as `1,3,6-10`."""
    runs = [
        [fold for _, fold in run] for _, run in groupby(enumerate(sorted(folds)), lambda entry: entry[1] - entry[0])
    ]
    return ",".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)
