"""Options that several commands share, and the model and detector they stand for."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from edgefr.choices import FacePolicy
from edgefr.errors import InvalidArgumentError

if TYPE_CHECKING:
    from edgefr.liveness.liveness_check import LivenessCheck

MODEL_VARIABLE = "EDGEFR_MODEL"

HIGHEST_FOLD = 1000
PASSWORD = re.compile(r"://[^/\s:@]*:[^/\s]*@|\b(user-pw|password|passwd)=")
"""A password in a URL, or among the properties of a GStreamer pipeline."""

NO_LIVENESS = (
    "Faces are not checked for presentation attacks: a printed photograph of an enrolled person is taken for that "
    "person. --liveness checks them."
)

ModelOption = Annotated[
    Path | None,
    typer.Option(
        "--model",
        "-m",
        help="Recogniser: mini, another name that `edgefr models` lists, an .onnx file or a fused .safetensors file. "
        "Default: $EDGEFR_MODEL, then mini.",
    ),
]
DetectorOption = Annotated[
    Path | None,
    typer.Option(
        "--detector",
        "-d",
        help="Face detector: spot, another name that `edgefr models` lists, or the .onnx file of YuNet or SCRFD. "
        "Default: $EDGEFR_DETECTOR, then the first file in the user's folder of detectors, then spot.",
    ),
]
PhotographsDetectorOption = Annotated[
    Path | None,
    typer.Option(
        "--detector",
        "-d",
        help="Face detector for photographs: spot, another name that `edgefr models` lists, or the .onnx file of YuNet "
        "or SCRFD. Default: $EDGEFR_DETECTOR. Aligned faces need none.",
    ),
]
LivenessOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--liveness",
        help="Refuse faces that are not living ones, by this net for presentation attack detection; see "
        "docs/liveness.md. May be repeated: the mean score decides.",
    ),
]
LivenessThresholdOption = Annotated[
    float, typer.Option(min=0, max=1, help="Score of --liveness from which a face counts as living.")
]
RuntimeOption = Annotated[
    str,
    typer.Option(
        help="Runtime: auto, onnxruntime, onnxruntime-cuda, openvino, ncnn, torch, fake, or a Triton server as "
        "triton://HOST:8001/NAME. auto picks the one that finishes first."
    ),
]
PrecisionOption = Annotated[
    str,
    typer.Option(
        help="Precision: auto, fp32 or bf16. auto picks fp32, or bf16 where build-engine measured that it decides like "
        "fp32 and is faster."
    ),
]
FaceOption = Annotated[
    FacePolicy,
    typer.Option("--face", help="Which of several faces to use: largest, centre, or only (several are an error)."),
]
PairsOption = Annotated[Path | None, typer.Option(help="LFW's pairs file, to take only the people of some folds.")]
FoldsOption = Annotated[str | None, typer.Option(help="Those folds, such as 1-5 or 1,3.")]
RotateOption = Annotated[
    Literal["auto", "0", "90", "180", "270"],
    typer.Option(
        "--rotate",
        help="Degrees clockwise by which the frames of a camera are turned so that faces are upright. auto finds it by "
        "the faces.",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout and nothing else.")]


def liveness_check(files: list[Path] | None, threshold: float) -> LivenessCheck | None:
    """The check that --liveness and --liveness-threshold stand for."""
    if not files:
        return None
    from edgefr.liveness.liveness_check import LivenessCheck

    return LivenessCheck(files, threshold)


def chosen_model(model: Path | None) -> Path:
    """The model to use: --model, else $EDGEFR_MODEL, else `mini`.

    Args:
        model: Value of --model.

    Returns:
        The path of the model's file. It is not checked. For a published recogniser it is the adopted copy. One whose
        input the catalogue knows is adopted now.
    """
    from edgefr.models import MINI, find_model
    from edgefr.recognition.published.adopted_files import is_published

    path = find_model(model or os.environ.get(MODEL_VARIABLE) or MINI)
    return _adopted_copy(path) if is_published(path) else path


def _adopted_copy(path: Path) -> Path:
    """The adopted copy of a published recogniser, made now if the catalogue knows its input; else the file itself."""
    from edgefr.catalogue import by_digest
    from edgefr.manifest import original_digest
    from edgefr.recognition.published.adopted_files import adopted_path

    target = adopted_path(path)
    if target is not None and target.is_file():
        return target
    entry = by_digest(original_digest(path))
    if entry is None or entry.kind != "recogniser" or entry.input is None or target is None:
        return path
    from edgefr.cli.output import remark
    from edgefr.export.native_from_published import native_from_published

    remark(f"{path.name} is {entry.name} of the catalogue. Adopting it as {target} ...")
    return native_from_published(path, target, None).path


def folds_of(text: str) -> set[int]:
    """Parse a list of folds.

    Args:
        text: Numbers and ascending ranges, for example "1,3,6-10".

    Returns:
        The numbers.

    Raises:
        InvalidArgumentError: The text is not such a list.
    """
    folds: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        ends = [first, last if dash else first]
        if not all(end.isascii() and end.isdigit() and int(end) <= HIGHEST_FOLD for end in ends):
            raise InvalidArgumentError("folds such as 6-10 or 1,3", f"--folds {text}", "correct the list")
        folds.update(range(int(ends[0]), int(ends[1]) + 1))
    if not folds:
        raise InvalidArgumentError("an ascending range such as 6-10", f"--folds {text}", "swap its ends")
    return folds


def rotation_degrees(rotate: str) -> int | None:
    """The value of `--rotate` in degrees; None for auto."""
    return None if rotate == "auto" else int(rotate)
