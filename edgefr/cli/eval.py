"""edgefr eval"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgefr.cli.options import FaceOption, JsonOption, PhotographsDetectorOption, RuntimeOption, chosen_model, folds_of
from edgefr.cli.output import print_json, progress, table, warn
from edgefr.errors import InvalidArgumentError

if TYPE_CHECKING:
    from edgefr.choices import FacePolicy
    from edgefr.evaluation.report import Evaluation


def eval(
    model: Annotated[
        Path,
        typer.Argument(
            help="An .onnx file, mini, or a fused .safetensors with its backbones. With --attack: a liveness net."
        ),
    ],
    datasets: Annotated[
        list[Path],
        typer.Argument(
            metavar="DATASET...",
            help="Faces (folder, .zip, .rec or .csv), a .bin file, or the folder that holds IJB's meta.",
        ),
    ],
    pairs: Annotated[
        Path | None, typer.Option(help="LFW's pairs file. Without it, faces are compared all against all.")
    ] = None,
    folds: Annotated[
        str | None,
        typer.Option(help="Only these folds of the pairs, such as 6-10 or 1,3. Default: those that training held out."),
    ] = None,
    protocol: Annotated[
        list[str] | None,
        typer.Option(help="all, clean, degraded (both pictures, and mixed), or one by name; may be repeated."),
    ] = None,
    beside: Annotated[
        list[Path] | None,
        typer.Option(
            "--beside",
            "--compare",
            help="Another model to compare with; may be repeated. Two also give their sum and their concatenation.",
        ),
    ] = None,
    attack: Annotated[
        Path | None,
        typer.Option(
            help="Measure a liveness net instead: attacks as SPECIES/Name/picture.jpg, which `edgefr data attack` can "
            "make. DATASET has photographs of living people, and --beside names further nets."
        ),
    ] = None,
    detector: PhotographsDetectorOption = None,
    face: FaceOption = "largest",
    runtime: RuntimeOption = "auto",
    precision: Annotated[
        str, typer.Option(help="fp32, bf16 or auto; auto takes bf16 only where build-engine measured it.")
    ] = "fp32",
    limit: Annotated[
        int | None, typer.Option(min=2, help="Evaluate on this many pairs (or faces), drawn with a fixed seed.")
    ] = None,
    html: Annotated[Path | None, typer.Option(help="Write a report as one self-contained HTML file.")] = None,
    ablation: Annotated[
        Path | None, typer.Option(help="Also show the rows that `edgefr sweep -o` wrote in the report.")
    ] = None,
    det: Annotated[Path | None, typer.Option(help="Write the DET curves: .png, .svg or .pdf.")] = None,
    json: JsonOption = False,
) -> None:
    """Measure how often a model is wrong: accuracy, EER and TAR at FAR, each with its 95 % interval.

    A fused checkpoint is compared with both its backbones, their sum and their concatenation. Photographs need a
    detector (-d) and are degraded before detection. A photograph without a face counts as a failure to acquire (FTA),
    and its comparisons as rejections. A warning is printed if a model was trained on the people it is evaluated on,
    and if pictures of 112x112 are not aligned faces.

    With --attack: APCER of each species of attack, BPCER and ACER (ISO/IEC 30107-3), at a threshold of 0.5 and at the
    one that at most 5 % of the worst species pass.
    """
    if attack is not None:
        if pairs or folds or protocol or limit or html or ablation or det or (runtime, precision) != ("auto", "fp32"):
            raise InvalidArgumentError(
                "--attack with --beside, --detector, --face or --json", "options for a recogniser", "leave them out"
            )
        _evaluate_attacks([model, *(beside or ())], datasets, attack, detector, face, json)
        return
    from edgefr.evaluation.evaluation_run import EvaluationRequest, evaluate
    from edgefr.evaluation.plots import check_plot
    from edgefr.evaluation.report import plot_evaluation, write_report
    from edgefr.evaluation.tables import json_document
    from edgefr.evaluation.variants import read_rows, rows_table

    if det is not None:
        check_plot(det)  # before the work is done
    extra = [] if ablation is None else [rows_table(f"Ablation: {ablation.stem}", read_rows(ablation))]
    request = EvaluationRequest(
        chosen_model(model),
        datasets,
        [chosen_model(path) for path in beside or ()],
        pairs,
        None if folds is None else folds_of(folds),
        protocol or (),
        detector,
        face,
        runtime,
        precision,
        limit,
    )
    models, evaluation = evaluate(request, lambda text: warn(f"edgefr: {text}"), progress)
    if json:
        listed = [
            {"name": entry.name, "sha256": entry.sha256, "runtime": entry.runtime, "precision": entry.precision}
            for entry in models
        ]
        figures = json_document(evaluation.results, evaluation.pooled, evaluation.discards)
        print_json({"models": listed, "doubts": evaluation.warnings, **figures, "origin": evaluation.origin})
    else:
        _print(evaluation)
    if html is not None:
        write_report(html, evaluation, extra)
    if det is not None:
        plot_evaluation(det, evaluation)


def _evaluate_attacks(
    nets: list[Path], datasets: list[Path], attack: Path, detector: Path | None, face: FacePolicy, json: bool
) -> None:
    if len(datasets) != 1:
        raise InvalidArgumentError("one DATASET of living people beside --attack", str(len(datasets)), "give one")
    from edgefr.cli.eval_attacks import evaluate_attacks

    evaluate_attacks(nets, datasets[0], attack, detector, face, json)


def _print(evaluation: Evaluation) -> None:
    from edgefr.evaluation.report import all_tables

    printed: set[str] = set()
    for text in evaluation.warnings:
        print(f"{text}\n")
    for entry in all_tables(evaluation):
        print(f"{entry.title}\n{table(entry.header, entry.rows)}")
        new = [note for note in entry.notes if note not in printed]  # eleven protocols share most of theirs
        print("".join(f"  {note}\n" for note in new))
        printed.update(new)
    for name, value in evaluation.origin.items():
        print(f"{name}: {value}")
