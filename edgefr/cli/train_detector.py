"""edgefr train-detector"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgefr.cli.options import JsonOption
from edgefr.cli.output import print_json
from edgefr.cli.train import SetOption, training_world


def train_detector(
    recipe: Annotated[Path, typer.Argument(help="A recipe, such as train/spot.toml.")],
    settings: SetOption = None,
    json: JsonOption = False,
) -> None:
    """Train a face detector by a recipe and export it as one ONNX file.

    The same command resumes a stopped run.
    """
    with training_world("skimage") as (world, bars):
        from edgefr.io.toml_dataclass import read_toml
        from edgefr.training.detector import detector_training

        parsed = read_toml(detector_training.DetectorRecipe, recipe, settings or ())
        result = detector_training.train_detector(parsed, bars, world)
    if not world.first:
        return
    from edgefr.export.onnx_from_detector import onnx_from_spot

    exported = onnx_from_spot(result, result.with_suffix(".onnx"))
    if json:
        print_json({"checkpoint": str(result), "onnx": str(exported.path), "trained_on": exported.manifest.trained_on})
    else:
        print(f"{exported.path}: {exported.manifest.trained_on}\nNext: edgefr verify A B --detector {exported.path}")
