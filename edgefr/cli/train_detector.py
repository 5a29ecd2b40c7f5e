"""edgefr train-detector"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgefr.cli.options import JsonOption
from edgefr.cli.output import print_json, progress
from edgefr.cli.train import SetOption


def train_detector(
    recipe: Annotated[Path, typer.Argument(help="A recipe, such as train/spot.toml.")],
    settings: SetOption = None,
    json: JsonOption = False,
) -> None:
    """Train a face detector by a recipe and export it as one ONNX file.

    A run that was stopped goes on where it was.
    """
    from edgefr.errors import require_extra

    for library in ("torch", "safetensors", "skimage"):
        require_extra(library, "train")
    from edgefr.io.toml_dataclass import read_toml
    from edgefr.training.common.parallel import world
    from edgefr.training.common.progress import silent
    from edgefr.training.detector.detector_training import SpotRecipe, train_spot

    with world() as here:
        result = train_spot(read_toml(SpotRecipe, recipe, settings or ()), progress if here.first else silent, here)
    if not here.first:
        return
    from edgefr.export.onnx_from_detector import onnx_from_spot

    exported = onnx_from_spot(result, result.with_suffix(".onnx"))
    if json:
        print_json({"checkpoint": str(result), "onnx": str(exported.path), "trained_on": exported.manifest.trained_on})
    else:
        print(f"{exported.path}: {exported.manifest.trained_on}\nNext: edgefr verify A B --detector {exported.path}")
