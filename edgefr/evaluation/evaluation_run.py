"""Runs an evaluation: opens models and data sets, computes the trials and their figures, and records their origin."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from edgefr.choices import FacePolicy
from edgefr.data.collections import open_faces
from edgefr.data.ijb_files import read_crops
from edgefr.data.lfw_pairs import NamedPair, read_pairs
from edgefr.data.verification_bin import open_bin
from edgefr.errors import InvalidArgumentError
from edgefr.evaluation.face_provider import FaceProvider
from edgefr.evaluation.figures import pooled_figures, signal_figures, trial_figures
from edgefr.evaluation.lfw_protocol import check_present, draw_indices, index_pairs, lfw_trials
from edgefr.evaluation.model_set import Model, ModelSet, open_models, unique_names
from edgefr.evaluation.protocols import Advance, Condition, Trial, select_conditions
from edgefr.evaluation.report import Evaluation
from edgefr.evaluation.tables import Result
from edgefr.evaluation.train_test_overlap import common_folds, format_folds, known_held_out, overlap_warnings
from edgefr.evaluation.trials import all_against_all, bin_trial, ijb_trial
from edgefr.io.files import sha256_of
from edgefr.manifest import HeldOut, package_versions
from edgefr.recognition.alignment import align
from edgefr.recognition.alignment_check import check_alignment
from edgefr.runtimes import available_runtimes
from edgefr.runtimes.processor import memory_gib, processor

Progress = Callable[[str, int], AbstractContextManager[Advance]]
"""Title and number of steps -> a context whose function is called with the steps that are done."""


@dataclass(frozen=True)
class EvaluationRequest:
    """What to evaluate: a model and `others` to compare it with, on data sets.

    `pairs` is LFW's pairs file; without it, pictures are compared all against all. `folds` None takes those that
    training held out, or all. `protocols` are names for `select_conditions`, empty for all. `limit` draws so many
    pairs (or faces) with a fixed seed. `detector` is needed for photographs.
    """

    model: Path
    datasets: Sequence[Path]
    others: Sequence[Path] = ()
    pairs: Path | None = None
    folds: Collection[int] | None = None
    protocols: Sequence[str] = ()
    detector: Path | None = None
    face: FacePolicy = "largest"
    runtime: str = "auto"
    precision: str = "fp32"
    limit: int | None = None


def evaluate(
    request: EvaluationRequest, warn: Callable[[str], None], progress: Progress
) -> tuple[tuple[Model, ...], Evaluation]:
    """Run an evaluation.

    Args:
        request: What to evaluate.
        warn: Called with a sentence for everything the user should know before the work starts.
        progress: Shows the progress of each part of the work.

    Returns:
        The models, and the evaluation.

    Raises:
        InvalidArgumentError: Options contradict each other or the data.
        EdgefrError: A file cannot be read, or a model fails.
    """
    datasets = request.datasets
    if (request.pairs or request.protocols or request.limit) and all(map(has_fixed_protocol, datasets)):
        raise InvalidArgumentError(
            "a collection of faces with --pairs, --protocol or --limit",
            "only IJB or .bin, whose protocols are fixed",
            "leave these options out",
        )
    if repeated := [path for path in datasets if datasets.count(path) > 1]:
        raise InvalidArgumentError("every data set once", f"{repeated[0]} {len(repeated)} times", "leave it out")
    chosen, provider = (
        select_conditions(request.protocols or ["all"]),
        FaceProvider.open(request.detector, request.face),
    )
    models = open_models(request.model, request.others, request.runtime, request.precision)
    paths = [request.model, *request.others]
    held_out = known_held_out(dict(zip(unique_names(paths), paths, strict=True)))
    named, folds = _select_pairs(request, held_out, warn)
    by_name = dict(zip(unique_names(datasets), datasets, strict=True))
    warnings = overlap_warnings(
        held_out,
        None if request.pairs is None else sha256_of(request.pairs),
        {pair.fold for pair in named or ()},
        {name: path for name, path in by_name.items() if not has_fixed_protocol(path)},
        lambda path: open_faces(path).digest(),
    )
    warnings += [text for path in datasets if (text := _alignment_warning(path))]
    for text in warnings:
        warn(text)
    trials = [
        trial
        for name, path in by_name.items()
        for trial in _trials(name, path, named, request.limit, chosen, provider, models, progress)
    ]
    with progress("Measuring", sum(len(trial.comparisons) for trial in trials)) as advance:
        results = [Result(trial, trial_figures(trial, models.pair, advance)) for trial in trials]
    return models.models, Evaluation(
        models.candidate,
        results,
        pooled_figures(trials, models.pair),
        signal_figures(trials, models.candidate),
        _origin(models, request, folds),
        warnings,
    )


def _alignment_warning(path: Path) -> str | None:
    """A warning if the pictures of a data set are no aligned faces. IJB has its own landmarks."""
    if (path / "meta").is_dir():
        return None
    folder = open_bin(path).faces if path.suffix.lower() == ".bin" else open_faces(path)
    return check_alignment(folder, folder.names).warning(str(path))


def has_fixed_protocol(path: Path) -> bool:
    """Whether a data set is a .bin file or IJB, whose protocols are published with it."""
    return path.suffix.lower() == ".bin" or (path / "meta").is_dir()


def _select_pairs(
    request: EvaluationRequest, held_out: dict[str, HeldOut], warn: Callable[[str], None]
) -> tuple[list[NamedPair] | None, str]:
    """The pairs of the chosen folds, or of those that training held out if none are chosen; and the folds as text."""
    path, folds = request.pairs, request.folds
    if path is None:
        if folds is not None:
            raise InvalidArgumentError(f"--pairs with --folds {format_folds(folds)}", "none", "give LFW's pairs file")
        return None, "all"
    named = read_pairs(path)
    existing = {pair.fold for pair in named}
    if folds is None and (common := common_folds(held_out, sha256_of(path))):
        folds = common
        warn(f"using only folds {format_folds(folds)}, which training held out. Choose others with --folds")
    if folds is None:
        return named, "all"
    if not set(folds) <= existing:
        raise InvalidArgumentError(
            f"folds of {min(existing)} to {max(existing)} in {path}",
            f"--folds {format_folds(folds)}",
            "choose some of them",
        )
    return [pair for pair in named if pair.fold in folds], format_folds(folds)


def _trials(
    name: str,
    path: Path,
    named: Sequence[NamedPair] | None,
    limit: int | None,
    chosen: Sequence[Condition],
    provider: FaceProvider,
    models: ModelSet,
    progress: Progress,
) -> list[Trial]:
    """The trials that a data set allows: IJB's protocols, those of a .bin, LFW's pairs, or all against all."""
    if (path / "meta").is_dir():
        crops = read_crops(path)
        with progress(name, len(crops.faces.names)) as advance:
            return [ijb_trial(name, path, crops, align, models, advance)]
    if path.suffix.lower() == ".bin":
        records = open_bin(path)
        with progress(name, len(records.faces.names)) as advance:
            return [bin_trial(name, records, models, advance)]
    folder = open_faces(path)
    reader = provider.crops_of(folder)
    if named is None:
        pictures = [folder.names[index] for index in draw_indices(len(folder.names), limit)]
        with progress(name, len(pictures)) as advance:
            return all_against_all(name, pictures, reader, chosen, models, advance)
    drawn = [named[index] for index in draw_indices(len(named), limit)]
    pictures, _ = index_pairs(drawn)
    check_present(pictures, folder)
    with progress(name, len(pictures)) as advance:
        return lfw_trials(name, drawn, reader, chosen, models, advance)


def _origin(models: ModelSet, request: EvaluationRequest, folds: str) -> dict[str, str]:
    """The files, machine and versions that the figures come from."""
    origin = {
        f"model {model.name}": f"SHA-256 {model.sha256 or 'none'}, {model.runtime} {model.precision}"
        for model in models.models
    }
    origin["data"] = ", ".join(map(str, request.datasets))
    if request.pairs is not None:
        origin["pairs"] = f"{request.pairs.name}, folds {folds}"
    if request.limit is not None:
        origin["limit"] = f"{request.limit:,} drawn with a fixed seed"
    machine, memory = processor(), memory_gib()
    origin["machine"] = f"{machine.model}, {machine.cores} cores" + (f", {memory:g} GiB" if memory else "")
    used = {model.runtime for model in models.models} - {"fake"}
    runtimes = {entry.name: entry.version for entry in available_runtimes() if entry.name in used}
    versions = package_versions("numpy", "opencv-python") | runtimes
    origin["versions"] = ", ".join(f"{name} {version}" for name, version in versions.items())
    return origin
