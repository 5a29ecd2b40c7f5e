"""edgefr parity"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgefr.cli.options import JsonOption, chosen_model
from edgefr.cli.output import print_json, progress
from edgefr.errors import EdgefrError

if TYPE_CHECKING:
    from edgefr.engines.parity_gate import ParityReport
    from edgefr.recognition.recogniser import Recogniser

Engine = Annotated[str, typer.Argument(metavar="MODEL[@RUNTIME[:PRECISION]]", help="Such as model.onnx@openvino:bf16.")]


def parity(
    reference: Engine,
    candidate: Engine,
    faces: Annotated[Path, typer.Option(help="Aligned faces: a folder or zip of Name/picture.jpg.")],
    pairs: Annotated[Path | None, typer.Option(help="LFW's pairs file, to count decisions that flip.")] = None,
    threshold: Annotated[
        float | None, typer.Option(min=-1, max=1, help="Decide by this; else by all of the reference's manifest.")
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Compare on so many pairs (or faces), drawn with a fixed seed.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Do two models or engines decide alike on real faces?

    Exit 0 within the bounds, 1 not, 2 error.
    """
    from edgefr.data.lfw_pairs import read_pairs
    from edgefr.engines.parity_gate import check, compare, looser
    from edgefr.evaluation.lfw_protocol import faces_and_pairs
    from edgefr.manifest import model_manifest

    first, model = _open(reference)
    second, _ = _open(candidate)
    images, indexed = faces_and_pairs(faces, None if pairs is None else read_pairs(pairs), limit)
    thresholds: tuple[float, ...] = () if threshold is None else (threshold,)
    if threshold is None and (manifest := model_manifest(model)):
        thresholds = tuple(sorted(entry.value for entry in manifest.thresholds_for(first.description.precision)))
    with progress("Embedding", 2 * len(images)) as advance:
        report = compare(first, second, images, indexed, thresholds, advance)
    broken = check(report, looser(first.description.precision, second.description.precision))
    if json:
        print_json({"reference": reference, "candidate": candidate, **asdict(report), "broken": broken})
    else:
        print(_text(report, first, second))
        print("\n".join(broken) if broken else "Within the bounds.")
    raise typer.Exit(1 if broken else 0)


def _open(engine: str) -> tuple[Recogniser, Path]:
    from edgefr.recognition.recogniser import open_recogniser
    from edgefr.runtimes.triton.server_address import is_address

    model, _, rest = engine.partition("@")
    runtime, _, precision = (rest, "", "") if is_address(rest) else rest.partition(":")
    if not model:
        raise EdgefrError("MODEL[@RUNTIME[:PRECISION]]", f"{engine!r}", "name a model file first")
    path = chosen_model(Path(model))
    return open_recogniser(path, runtime or "auto", precision or "auto"), path


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
