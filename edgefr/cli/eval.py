"""edgefr eval"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgefr.cli.options import DetectorOption, FaceOption, JsonOption, RuntimeOption
from edgefr.cli.output import print_json, progress, table
from edgefr.errors import EdgefrError

if TYPE_CHECKING:
    from edgefr.data.faces import FaceFolder
    from edgefr.data.lfw import NamedPair
    from edgefr.evaluate.protocols import Condition, Find, Trial
    from edgefr.evaluate.report import Evaluation
    from edgefr.evaluate.systems import Entrants
    from edgefr.face.detect import Policy

MOST_FOLDS = 1000


def eval(
    model: Annotated[Path, typer.Argument(help="An .onnx file or a fused .safetensors; that brings its backbones.")],
    datasets: Annotated[
        list[Path],
        typer.Argument(
            metavar="DATASET...", help="Faces (folder, .zip, .rec or .csv), a .bin file, or the folder of IJB's meta."
        ),
    ],
    pairs: Annotated[
        Path | None, typer.Option(help="LFW's pairs file; without it, faces are compared all against all.")
    ] = None,
    folds: Annotated[str | None, typer.Option(help="Only these folds of the pairs, such as 6-10 or 1,3.")] = None,
    protocol: Annotated[
        list[str] | None,
        typer.Option(help="all, clean, degraded (both pictures, and mixed), or one by name; may be repeated."),
    ] = None,
    beside: Annotated[
        list[Path] | None, typer.Option(help="Another model to compare with; two give a sum and a concatenation.")
    ] = None,
    detector: DetectorOption = None,
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
    aligned to 112x112 need a detector; one without a face is counted (FTA), and its comparisons are rejections.
    """
    from edgefr.evaluate.ablation import read_rows, rows_table
    from edgefr.evaluate.figures import discards, measure, pool
    from edgefr.evaluate.plots import check_plot
    from edgefr.evaluate.protocols import conditions
    from edgefr.evaluate.report import Evaluation, write_report
    from edgefr.evaluate.systems import open_entrants
    from edgefr.evaluate.tables import Result, document

    if det is not None:
        check_plot(det)  # before the work is done
    extra = [] if ablation is None else [rows_table(f"Ablation: {ablation.stem}", read_rows(ablation))]
    if (pairs or protocol or limit) and all(_is_published(path) for path in datasets):
        raise EdgefrError(
            "expected a collection of faces with --pairs, --protocol or --limit, found only IJB or .bin, whose "
            "protocols are fixed: leave these options out"
        )
    chosen, named = conditions(protocol or ["all"]), _pairs(pairs, folds)
    find = _finder(detector, face)
    entrants = open_entrants(model, beside or [], runtime, precision)
    trials = [trial for path in datasets for trial in _trials(path, named, limit, chosen, find, entrants)]
    with progress("Measuring", sum(len(trial.comparisons) for trial in trials)) as advance:
        results = [Result(trial, measure(trial, entrants.pair, advance)) for trial in trials]
    pooled, quality = pool(trials, entrants.pair), discards(trials, entrants.judged)
    evaluation = Evaluation(entrants.judged, results, pooled, quality, _origin(entrants, datasets, pairs, folds, limit))
    if json:
        models = [
            {"name": entry.name, "sha256": entry.sha256, "runtime": entry.runtime, "precision": entry.precision}
            for entry in entrants.models
        ]
        print_json({"models": models, **document(results, pooled, quality), "origin": evaluation.origin})
    else:
        _print(evaluation)
    if html is not None:
        write_report(html, evaluation, extra)
    if det is not None:
        _draw(det, evaluation)


def _pairs(path: Path | None, folds: str | None) -> list[NamedPair] | None:
    """The pairs of the chosen folds."""
    from edgefr.data.lfw import read_pairs

    if path is None:
        if folds is not None:
            raise EdgefrError(f"expected --pairs with --folds {folds}, found none: give LFW's pairs file")
        return None
    named = read_pairs(path)
    known = {pair.fold for pair in named}
    chosen = known if folds is None else _numbers(folds)
    if not chosen <= known:
        raise EdgefrError(
            f"expected folds of {min(known)} to {max(known)} in {path}, found --folds {folds}: choose among them"
        )
    return [pair for pair in named if pair.fold in chosen]


def _numbers(text: str) -> set[int]:
    """`1,3,6-10` -> the numbers."""
    chosen: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        ends = [first, last if dash else first]
        if not all(end.isascii() and end.isdigit() and int(end) <= MOST_FOLDS for end in ends):
            raise EdgefrError(f"expected folds such as 6-10 or 1,3, found --folds {text}: correct it")
        chosen.update(range(int(ends[0]), int(ends[1]) + 1))
    if not chosen:
        raise EdgefrError(f"expected folds that rise, such as 6-10, found --folds {text}: correct it")
    return chosen


def _finder(detector: Path | None, policy: Policy) -> Callable[[FaceFolder], Find]:
    """How to get the aligned face of a collection's picture: as it is, or found where it is not aligned already."""
    from edgefr.evaluate.protocols import aligned_only
    from edgefr.face.align import align
    from edgefr.face.detect import DETECTOR_VARIABLE, choose_face, open_detector
    from edgefr.spec import FACE_SIZE, Image

    if detector is None and DETECTOR_VARIABLE not in os.environ:
        return aligned_only
    finder = open_detector(detector)

    def find_in(folder: FaceFolder) -> Find:
        def find(name: str) -> Image | None:
            photo = folder.read(name)
            if photo.shape[:2] == (FACE_SIZE, FACE_SIZE):
                return photo
            try:
                return align(photo, choose_face(finder.detect(photo), photo.shape[:2], policy, name).landmarks)
            except EdgefrError:  # none, or none that is usable: a failure to acquire
                return None

        return find

    return find_in


def _is_published(path: Path) -> bool:
    return path.suffix.lower() == ".bin" or (path / "meta").is_dir()


def _trials(
    path: Path,
    named: Sequence[NamedPair] | None,
    limit: int | None,
    chosen: Sequence[Condition],
    find: Callable[[FaceFolder], Find],
    entrants: Entrants,
) -> list[Trial]:
    """What a data set allows: IJB's protocols, upstream's of a .bin, LFW's pairs, or everyone with everyone."""
    from edgefr.data.bin import open_bin
    from edgefr.data.faces import open_faces
    from edgefr.data.ijb import read_crops
    from edgefr.evaluate.lfw import check_present, draw, index_pairs, lfw_trials
    from edgefr.evaluate.trials import all_against_all, bin_trial, ijb_trial
    from edgefr.face.align import align
    from edgefr.face.quality import sharpness

    if (path / "meta").is_dir():
        crops = read_crops(path)
        with progress(path.name, len(crops.faces.names)) as advance:
            return [ijb_trial(path.name, path, crops, align, entrants, advance)]
    if path.suffix.lower() == ".bin":
        records = open_bin(path)
        with progress(path.name, len(records.faces.names)) as advance:
            return [bin_trial(path.name, records, entrants, advance)]
    folder = open_faces(path)
    if named is None:
        names = [folder.names[index] for index in draw(len(folder.names), limit)]
        with progress(path.name, len(names)) as advance:
            return all_against_all(path.name, names, find(folder), chosen, entrants, advance)
    drawn = [named[index] for index in draw(len(named), limit)]
    names, _ = index_pairs(drawn)
    check_present(names, folder)
    with progress(path.name, len(names)) as advance:
        return lfw_trials(path.name, drawn, find(folder), chosen, entrants, {"sharpness": sharpness}, advance)


def _origin(
    entrants: Entrants, datasets: Sequence[Path], pairs: Path | None, folds: str | None, limit: int | None
) -> dict[str, str]:
    """Which files, which machine, which versions."""
    from edgefr.backends.processor import memory_gib, processor
    from edgefr.manifest import versions_of

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
    runtimes = sorted({model.runtime for model in entrants.models} - {"fake"})
    versions = versions_of("numpy", "opencv-python", *runtimes)
    origin["versions"] = ", ".join(f"{name} {version}" for name, version in versions.items())
    return origin


def _draw(path: Path, evaluation: Evaluation) -> None:
    from edgefr.evaluate.plots import det_curves
    from edgefr.evaluate.rates import Det, det

    def curves(trial: Trial) -> dict[str, Det]:
        return {name: det(comparisons) for name, comparisons in trial.comparisons.items()}

    det_curves(path, [(result.title, curves(result.trial)) for result in evaluation.results])


def _print(evaluation: Evaluation) -> None:
    from edgefr.evaluate.report import tables_of

    said: set[str] = set()
    for entry in tables_of(evaluation):
        print(f"{entry.title}\n{table(entry.header, entry.rows)}")
        fresh = [note for note in entry.notes if note not in said]  # eleven protocols share most of theirs
        print("".join(f"  {note}\n" for note in fresh))
        said.update(fresh)
    for name, value in evaluation.origin.items():
        print(f"{name}: {value}")
