"""Options that several commands share, and where a model comes from when none is named."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from edgefr.detection.base import FacePolicy
from edgefr.errors import EdgefrError
from edgefr.models import MINI, find_model

MODEL_VARIABLE = "EDGEFR_MODEL"

MOST_FOLDS = 1000

ModelOption = Annotated[
    Path | None,
    typer.Option(
        "--model", "-m", help="Recogniser: an .onnx file, a fused .safetensors, or mini; else $EDGEFR_MODEL, else mini."
    ),
]
DetectorOption = Annotated[
    Path | None,
    typer.Option(
        "--detector", "-d", help="Face detector: spot, or YuNet's or SCRFD's .onnx; else $EDGEFR_DETECTOR, else spot."
    ),
]
PhotographsDetectorOption = Annotated[
    Path | None,
    typer.Option(
        "--detector",
        "-d",
        help="Face detector for photographs: spot, or YuNet's or SCRFD's .onnx; else $EDGEFR_DETECTOR. Aligned faces "
        "need none.",
    ),
]
RuntimeOption = Annotated[
    str,
    typer.Option(
        help="auto, onnxruntime, onnxruntime-cuda, openvino, torch, fake, or a server: triton://HOST:8001/NAME; auto "
        "takes what is done first."
    ),
]
PrecisionOption = Annotated[
    str, typer.Option(help="auto, fp32 or bf16; auto takes bf16 where runtime and processor have it.")
]
FaceOption = Annotated[
    FacePolicy,
    typer.Option("--face", help="Which of several faces: largest, centre, or only (then more is an error)."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else on stdout.")]


def chosen_model(model: Path | None) -> Path:
    """The model to use: --model, else $EDGEFR_MODEL, else `mini`, which comes with edgefr."""
    return find_model(model or os.environ.get(MODEL_VARIABLE) or MINI)


def folds_of(text: str) -> set[int]:
    """`1,3,6-10` -> the numbers.

    Raises:
        EdgefrError: the text is none such.
    """
    chosen: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        ends = [first, last if dash else first]
        if not all(end.isascii() and end.isdigit() and int(end) <= MOST_FOLDS for end in ends):
            raise EdgefrError("folds such as 6-10 or 1,3", f"--folds {text}", "correct it")
        chosen.update(range(int(ends[0]), int(ends[1]) + 1))
    if not chosen:
        raise EdgefrError("folds that rise, such as 6-10", f"--folds {text}", "correct it")
    return chosen
