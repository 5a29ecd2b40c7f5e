"""edgefr parity"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgefr.cli.options import JsonOption, chosen_model
from edgefr.cli.output import print_json, progress, warn
from edgefr.errors import InvalidArgumentError

if TYPE_CHECKING:
    from edgefr.engines.parity_gate import ParityReport
    from edgefr.recognition.recogniser import Recogniser

Engine = Annotated[
    str, typer.Argument(metavar="MODEL[@RUNTIME[:PRECISION]]", help="For example model.onnx@openvino:bf16.")
]


def parity(
    reference: Engine,
    candidate: Engine,
    faces: Annotated[Path, typer.Option(help="Aligned faces: a folder or zip of Name/picture.jpg.")],
    pairs: Annotated[Path | None, typer.Option(help="Pairs file of LFW, to count decisions that flip.")] = None,
    threshold: Annotated[
        float | None,
        typer.Option(
            min=-1, max=1, help="Threshold to decide at. Default: all thresholds in the manifest of the reference."
        ),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Compare on at most this many pairs (or faces), drawn with a fixed seed.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Compare the decisions of two models or engines on real faces.

    Exit code: 0 within the bounds, 1 outside, 2 error.
    """
    from edgefr.data.lfw_pairs import read_pairs
    from edgefr.engines.parity_gate import check_bounds, compare_models, looser_bound
    from edgefr.evaluation.lfw_protocol import faces_and_pairs
    from edgefr.manifest import model_manifest

    first, model = _open(reference)
    second, other = _open(candidate)
    _warn_of_no_difference(model, other, first, second)
    images, indexed = faces_and_pairs(faces, None if pairs is None else read_pairs(pairs), limit)
    thresholds: tuple[float, ...] = () if threshold is None else (threshold,)
    if threshold is None and (manifest := model_manifest(model)):
        thresholds = tuple(sorted(entry.value for entry in manifest.thresholds_for(first.description.precision)))
    with progress("Embedding", 2 * len(images)) as advance:
        report = compare_models(first, second, images, indexed, thresholds, advance)
    exceeded = check_bounds(report, looser_bound(first.description.precision, second.description.precision))
    if json:
        print_json({"reference": reference, "candidate": candidate, **asdict(report), "broken": exceeded})
    else:
        print(_text(report, first, second))
        print("\n".join(exceeded) if exceeded else "Within the bounds.")
    raise typer.Exit(1 if exceeded else 0)


def _open(engine: str) -> tuple[Recogniser, Path]:
    from edgefr.recognition.recogniser import open_recogniser
    from edgefr.runtimes.triton.server_address import is_address

    model, _, rest = engine.partition("@")
    runtime, _, precision = (rest, "", "") if is_address(rest) else rest.partition(":")
    if not model:
        raise InvalidArgumentError("MODEL[@RUNTIME[:PRECISION]]", repr(engine), "begin with a model file")
    path = chosen_model(Path(model))
    return open_recogniser(path, runtime or "auto", precision or "auto"), path


def _warn_of_no_difference(model: Path, other: Path, first: Recogniser, second: Recogniser) -> None:
    """Without a runtime, "auto" can choose what the other side names, and the comparison then shows nothing."""
    a, b = first.description, second.description
    if model == other and (a.runtime, a.precision) == (b.runtime, b.precision) and a.runtime != "triton":
        warn(
            f"edgefr: both sides are {model} on {a.runtime} {a.precision}, so that no difference can be found. Name a "
            f"runtime and a precision for each, for example {model}@onnxruntime:fp32."
        )


def _text(report: ParityReport, first: Recogniser, second: Recogniser) -> str:
    a, b = first.description, second.description
    lines = [
        f"{b.runtime} {b.precision} against {a.runtime} {a.precision} on {report.images:,} faces:",
        f"cosine: mean {report.cosine_mean:.7f}, 0.1 percentile {report.cosine_p01:.7f}, "
        f"minimum {report.cosine_min:.7f}",
    ]
    for at in report.decisions:
        lines.append(
            f"accuracy on {report.pairs:,} pairs at {at.threshold:.3f}: {at.accuracy_candidate:.2%} against "
            f"{at.accuracy_reference:.2%}, {at.flips} decisions flip, {at.mixed_flips} against a gallery of the other"
        )
    return "\n".join(lines)
