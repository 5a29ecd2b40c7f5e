"""edgefr adopt"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from edgefr.cli.face_collection import faces_to_measure_on
from edgefr.cli.options import FaceOption, FoldsOption, JsonOption, PairsOption, PhotographsDetectorOption
from edgefr.cli.output import print_json, progress, remark, table, threshold_table, warn
from edgefr.errors import InvalidArgumentError

if TYPE_CHECKING:
    from edgefr.evaluation.convention_measurement import Measured
    from edgefr.export.native_from_published import Adopted
    from edgefr.recognition.published.convention import Convention

SOURCES = {
    "option": "you said",
    "catalogue": "the catalogue of published models says",
    "measurement": "measured on these faces",
}
MOST = 1e6
"""Largest mean and deviation that are accepted; pixels reach 255."""


def adopt(
    file: Annotated[
        Path,
        typer.Argument(help="A recogniser of another project: .onnx, .pt, .pth, .ckpt or .safetensors."),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="The .onnx file to write. Default: one in the user's data folder, which --model FILE then stands for.",
        ),
    ] = None,
    faces: Annotated[
        Path | None, typer.Option(help="Pictures by person, to measure the input convention and thresholds on.")
    ] = None,
    colour: Annotated[
        Literal["rgb", "bgr"] | None, typer.Option(help="Order of the channels, if you know it; with --mean and --std.")
    ] = None,
    mean: Annotated[
        str | None, typer.Option(help="Mean that is subtracted from pixels (0 to 255): one number, or three as 1,2,3.")
    ] = None,
    std: Annotated[
        str | None, typer.Option(help="Number that pixels are divided by then: one number, or three.")
    ] = None,
    output_name: Annotated[
        str | None, typer.Option(help="Name of the output that is the embedding, if there are several.")
    ] = None,
    pairs: PairsOption = None,
    folds: FoldsOption = None,
    detector: PhotographsDetectorOption = None,
    face: FaceOption = "largest",
    json: JsonOption = False,
) -> None:
    """Make a recogniser of another project usable: one .onnx file with edgefr's inputs, thresholds and manifest.

    What the file cannot say (colours, mean, scale) comes from --colour, --mean and --std, else from the catalogue
    (`edgefr models`), else it is measured on --faces: the usual conventions embed the same faces, and the one that
    separates people best is kept. If none is clearly best, the file is refused.
    """
    from edgefr.evaluation.convention_measurement import UnclearConventionError
    from edgefr.export.measured_manifest import limit_faces
    from edgefr.export.native_from_published import Reporter, native_from_published

    target = output or _default_output(file)
    convention = _convention(colour, mean, std)
    known = None if faces is None else faces_to_measure_on(faces, pairs, folds, detector, face)
    total = 0 if known is None else len(limit_faces(known.chosen).names)
    try:
        with progress("Measuring thresholds", total) as advance:
            adopted = native_from_published(
                file, target, known, convention, output_name, reporter=Reporter(remark, advance)
            )
    except UnclearConventionError as error:
        warn(_convention_table(error.table))
        raise
    if json:
        print_json(_document(adopted))
    else:
        print(_text(adopted, file))


def _default_output(file: Path) -> Path:
    """The place where `--model FILE` finds the adopted copy."""
    from edgefr.export.native_from_published import CHECKPOINTS
    from edgefr.recognition.published.adopted_files import adopted_path
    from edgefr.runtimes.base import check_model_file

    if not file.is_file():
        raise InvalidArgumentError("a model file", f"none at {file}", "check the path")
    if file.suffix.lower() not in CHECKPOINTS:
        check_model_file(file, ".onnx", "edgefr adopt")
    target = adopted_path(file) if file.suffix.lower() == ".onnx" else None
    if target is None:
        raise InvalidArgumentError("a file to write", "none", "name it with -o model.onnx")
    return target


def _convention(colour: Literal["rgb", "bgr"] | None, mean: str | None, std: str | None) -> Convention | None:
    """The convention of the options, None without any."""
    from edgefr.recognition.published.convention import Convention

    if colour is None and mean is None and std is None:
        return None
    if colour is None or mean is None or std is None:
        raise InvalidArgumentError("--colour, --mean and --std together", "only some of them", "give all three or none")
    means, deviations = _three_numbers("--mean", mean), _three_numbers("--std", std)
    if min(deviations) <= 0:
        raise InvalidArgumentError("--std above 0", std, "correct the number")
    return Convention(colour, means, deviations)


def _three_numbers(option: str, text: str) -> tuple[float, float, float]:
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError:
        values = []
    if len(values) not in (1, 3) or not all(abs(value) <= MOST for value in values):  # also refuses NaN
        raise InvalidArgumentError(
            f"{option} as one number or three, such as 127.5 or 123.7,116.3,103.5", text, "correct it"
        )
    first, second, third = values * 3 if len(values) == 1 else values
    return first, second, third


def _text(adopted: Adopted, file: Path) -> str:
    chosen, manifest = adopted.chosen, adopted.manifest
    lines = []
    if adopted.measured:
        lines += [_convention_table(adopted.measured), ""]
    lines.append(f"{file.name} takes {chosen.convention}, as {SOURCES[adopted.source]}.")
    size = adopted.path.stat().st_size / 1e6
    lines.append(f"{adopted.path} ({size:.1f} MB) gives the same embeddings. Use it with --model {adopted.path}.")
    if manifest.thresholds:
        lines += ["", manifest.thresholds[0].measured_on, threshold_table(manifest.thresholds, manifest.quality)]
    else:
        lines.append(f"It has no thresholds yet. Measure them with `edgefr calibrate {adopted.path} FACES`.")
    return "\n".join(lines)


def _convention_table(measured: Sequence[Measured]) -> str:
    rows = []
    for entry in measured:
        mean, low, high = entry.behind
        others = f" (and {len(entry.alike)} like it)" if entry.alike else ""
        difference = "best" if mean == 0 else f"{mean:.3f} ({low:.3f} to {high:.3f})"
        rows.append(
            [f"{entry.name}{others}", str(entry.probes), f"{entry.identified:.1%}", f"{entry.loss:.3f}", difference]
        )
    header = ["input convention", "faces", "identified", "loss", "loss above the best (95 %)"]
    return table(header, rows)


def _document(adopted: Adopted) -> dict[str, Any]:
    return {
        "output": str(adopted.path),
        "convention": adopted.chosen.convention.to_dict(),
        "convention_from": adopted.source,
        "embedding_output": adopted.chosen.output,
        "measured": [asdict(entry) for entry in adopted.measured],
        "calibration_faces": adopted.calibration_faces,
        "thresholds": [asdict(entry) for entry in adopted.manifest.thresholds],
        "quality": None if adopted.manifest.quality is None else asdict(adopted.manifest.quality),
    }
