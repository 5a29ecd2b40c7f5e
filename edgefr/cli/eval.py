"""edgefr eval"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgefr.cli.options import FaceOption, JsonOption, PhotographsDetectorOption, RuntimeOption, chosen_model, folds_of
from edgefr.cli.output import print_json, progress, table, warn
from edgefr.errors import EdgefrError

if TYPE_CHECKING:
    from edgefr.data.lfw_pairs import NamedPair
    from edgefr.evaluation.face_provider import FaceProvider
    from edgefr.evaluation.model_set import ModelSet
    from edgefr.evaluation.protocols import Condition, Trial
    from edgefr.evaluation.report import Evaluation
    from edgefr.manifest import HeldOut


def eval(
    model: Annotated[Path, typer.Argument(help="An .onnx file, mini, or a fused .safetensors with its backbones.")],
    datasets: Annotated[
        list[Path],
        typer.Argument(
            metavar="DATASET...", help="Faces (folder, .zip, .rec or .csv), a .bin file, or the folder of IJB's meta."
        ),
    ],
    pairs: Annotated[
        Path | None, typer.Option(help="LFW's pairs file; without it, faces are compared all against all.")
    ] = None,
    folds: Annotated[
        str | None,
        typer.Option(help="Only these folds of the pairs, such as 6-10 or 1,3; else those that training held out."),
    ] = None,
    protocol: Annotated[
        list[str] | None,
        typer.Option(help="all, clean, degraded (both pictures, and mixed), or one by name; may be repeated."),
    ] = None,
    beside: Annotated[
        list[Path] | None, typer.Option(help="Another model to compare with; two give a sum and a concatenation.")
    ] = None,
    detector: PhotographsDetectorOption = None,
    face: FaceOption = "largest",
    runtime: RuntimeOption = "auto",
    precision: Annotated[
        str, typer.Option(help="fp32, bf16 or auto; auto takes bf16 where runtime and processor have it.")
    ] = "fp32",
    limit: Annotated[
        int | None, typer.Option(min=2, help="Evaluate on so many pairs (or faces), drawn with a fixed seed.")
    ] = None,
    html: Annotated[Path | None, typer.Option(help="Write a report: one page that needs nothing beside it.")] = None,
    ablation: Annotated[
        Path | None, typer.Option(help="Show the rows that `edgefr sweep -o` wrote in the report, too.")
    ] = None,
    det: Annotated[Path | None, typer.Option(help="Write the DET curves: .png, .svg or .pdf.")] = None,
    json: JsonOption = False,
) -> None:
    """How often is a model wrong? Accuracy, EER and TAR at FAR, each with its 95 % interval.

    Beside a fused checkpoint stand both its backbones, their sum and their concatenation. Pictures that are not
    aligned to 112x112 need a detector, before which they are degraded; one without a face is counted (FTA), and its
    comparisons are rejections. A model that was trained on the people it is evaluated on is warned of.
    """
    from edgefr.evaluation.face_provider import FaceProvider
    from edgefr.evaluation.figures import discards, measure, pool
    from edgefr.evaluation.model_set import names_of, open_entrants
    from edgefr.evaluation.plots import check_plot
    from edgefr.evaluation.protocols import conditions
    from edgefr.evaluation.report import Evaluation, write_report
    from edgefr.evaluation.tables import Result, document
    from edgefr.evaluation.variants import read_rows, rows_table

    if det is not None:
        check_plot(det)  # before the work is done
    extra = [] if ablation is None else [rows_table(f"Ablation: {ablation.stem}", read_rows(ablation))]
    if (pairs or protocol or limit) and all(_is_published(path) for path in datasets):
        raise EdgefrError(
            "a collection of faces with --pairs, --protocol or --limit",
            "only IJB or .bin, whose protocols are fixed",
            "leave these options out",
        )
    if repeated := [path for path in datasets if datasets.count(path) > 1]:
        raise EdgefrError("every data set once", f"{repeated[0]} {len(repeated)} times", "leave it out")
    chosen, finder = conditions(protocol or ["all"]), FaceProvider.open(detector, face)
    model, beside = chosen_model(model), [chosen_model(path) for path in beside or []]
    entrants = open_entrants(model, beside, runtime, precision)
    known, names = _held_out([model, *beside]), dict(zip(names_of(datasets), datasets, strict=True))
    named, folds = _pairs(pairs, folds, known)
    warnings = _overlap_warnings(known, pairs, named, names)
    trials = [trial for name in names for trial in _trials(name, names[name], named, limit, chosen, finder, entrants)]
    with progress("Measuring", sum(len(trial.comparisons) for trial in trials)) as advance:
        results = [Result(trial, measure(trial, entrants.pair, advance)) for trial in trials]
    pooled, quality = pool(trials, entrants.pair), discards(trials, entrants.judged)
    origin = _origin(entrants, datasets, pairs, folds, limit)
    evaluation = Evaluation(entrants.judged, results, pooled, quality, origin, warnings)
    if json:
        models = [
            {"name": entry.name, "sha256": entry.sha256, "runtime": entry.runtime, "precision": entry.precision}
            for entry in entrants.models
        ]
        print_json({"models": models, "doubts": warnings, **document(results, pooled, quality), "origin": origin})
    else:
        _print(evaluation)
    if html is not None:
        write_report(html, evaluation, extra)
    if det is not None:
        _draw(det, evaluation)


def _held_out(models: Sequence[Path]) -> dict[str, HeldOut]:
    """Whom each model never saw, by its name, of those that tell."""
    from edgefr.evaluation.model_set import names_of
    from edgefr.manifest import model_manifest

    manifests = {name: model_manifest(path) for name, path in zip(names_of(models), models, strict=True)}
    format_folds = {name: manifest.held_out for name, manifest in manifests.items() if manifest is not None}
    return {name: held_out for name, held_out in format_folds.items() if held_out is not None}


def _pairs(
    path: Path | None, folds: str | None, known: Mapping[str, HeldOut]
) -> tuple[list[NamedPair] | None, str | None]:
    """The pairs of the chosen folds, and which these are: those that training held out where none are named."""
    from edgefr.data.lfw_pairs import read_pairs
    from edgefr.evaluation.train_test_overlap import common_folds, format_folds
    from edgefr.io.files import sha256_of

    if path is None:
        if folds is not None:
            raise EdgefrError(f"--pairs with --folds {folds}", "none", "give LFW's pairs file")
        return None, None
    named = read_pairs(path)
    there = {pair.fold for pair in named}
    if folds is None and (held_out := common_folds(known, sha256_of(path))):
        folds = format_folds(held_out)
        warn(f"edgefr: only folds {folds}, whose people training held out; name others with --folds")
    chosen = there if folds is None else folds_of(folds)
    if not chosen <= there:
        raise EdgefrError(f"folds of {min(there)} to {max(there)} in {path}", f"--folds {folds}", "choose among them")
    return [pair for pair in named if pair.fold in chosen], folds


def _overlap_warnings(
    known: Mapping[str, HeldOut], pairs: Path | None, named: Sequence[NamedPair] | None, datasets: Mapping[str, Path]
) -> list[str]:
    """Which models were trained on these people; told on stderr before the work is done."""
    from edgefr.data.collections import open_faces
    from edgefr.evaluation.train_test_overlap import overlap_warnings
    from edgefr.io.files import sha256_of

    faces = {name: path for name, path in datasets.items() if not _is_published(path)}
    sha256 = None if pairs is None else sha256_of(pairs)
    found = overlap_warnings(
        known, sha256, {pair.fold for pair in named or ()}, faces, lambda path: open_faces(path).digest()
    )
    for doubt in found:
        warn(f"edgefr: {doubt}")
    return found


def _is_published(path: Path) -> bool:
    return path.suffix.lower() == ".bin" or (path / "meta").is_dir()


def _trials(
    name: str,
    path: Path,
    named: Sequence[NamedPair] | None,
    limit: int | None,
    chosen: Sequence[Condition],
    finder: FaceProvider,
    entrants: ModelSet,
) -> list[Trial]:
    """What a data set allows: IJB's protocols, upstream's of a .bin, LFW's pairs, or everyone with everyone."""
    from edgefr.data.collections import open_faces
    from edgefr.data.ijb_files import read_crops
    from edgefr.data.verification_bin import open_bin
    from edgefr.evaluation.lfw_protocol import check_present, draw, index_pairs, lfw_trials
    from edgefr.evaluation.trials import all_against_all, bin_trial, ijb_trial
    from edgefr.recognition.alignment import align

    if (path / "meta").is_dir():
        crops = read_crops(path)
        with progress(name, len(crops.faces.names)) as advance:
            return [ijb_trial(name, path, crops, align, entrants, advance)]
    if path.suffix.lower() == ".bin":
        records = open_bin(path)
        with progress(name, len(records.faces.names)) as advance:
            return [bin_trial(name, records, entrants, advance)]
    folder = open_faces(path)
    find = finder.within(folder)
    if named is None:
        pictures = [folder.names[index] for index in draw(len(folder.names), limit)]
        with progress(name, len(pictures)) as advance:
            return all_against_all(name, pictures, find, chosen, entrants, advance)
    drawn = [named[index] for index in draw(len(named), limit)]
    pictures, _ = index_pairs(drawn)
    check_present(pictures, folder)
    with progress(name, len(pictures)) as advance:
        return lfw_trials(name, drawn, find, chosen, entrants, advance)


def _origin(
    entrants: ModelSet, datasets: Sequence[Path], pairs: Path | None, folds: str | None, limit: int | None
) -> dict[str, str]:
    """Which files, which machine, which versions."""
    from edgefr.manifest import package_versions
    from edgefr.runtimes import available_runtimes
    from edgefr.runtimes.processor import memory_gib, processor

    origin = {
        f"model {model.name}": f"SHA-256 {model.sha256 or 'none'}, {model.runtime} {model.precision}"
        for model in entrants.models
    }
    origin["data"] = ", ".join(map(str, datasets))
    if pairs is not None:
        origin["pairs"] = f"{pairs.name}, folds {folds or 'all'}"
    if limit is not None:
        origin["limit"] = f"{limit:,} drawn with a fixed seed"
    machine, memory = processor(), memory_gib()
    origin["machine"] = f"{machine.model}, {machine.cores} cores" + (f", {memory:g} GiB" if memory else "")
    used = {model.runtime for model in entrants.models} - {"fake"}
    runtimes = {entry.name: entry.version for entry in available_runtimes() if entry.name in used}
    versions = package_versions("numpy", "opencv-python") | runtimes
    origin["versions"] = ", ".join(f"{name} {version}" for name, version in versions.items())
    return origin


def _draw(path: Path, evaluation: Evaluation) -> None:
    from edgefr.evaluation.error_rates import Det, det
    from edgefr.evaluation.plots import det_curves

    def curves(trial: Trial) -> dict[str, Det]:
        return {name: det(comparisons) for name, comparisons in trial.comparisons.items()}

    det_curves(path, [(result.title, curves(result.trial)) for result in evaluation.results])


def _print(evaluation: Evaluation) -> None:
    from edgefr.evaluation.report import tables_of

    said: set[str] = set()
    for doubt in evaluation.warnings:
        print(f"{doubt}\n")
    for entry in tables_of(evaluation):
        print(f"{entry.title}\n{table(entry.header, entry.rows)}")
        fresh = [note for note in entry.notes if note not in said]  # eleven protocols share most of theirs
        print("".join(f"  {note}\n" for note in fresh))
        said.update(fresh)
    for name, value in evaluation.origin.items():
        print(f"{name}: {value}")
