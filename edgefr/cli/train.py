"""edgefr train"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgefr.cli.options import JsonOption
from edgefr.cli.output import print_json, progress


def train(
    recipe: Annotated[Path, typer.Argument(help="A recipe, such as train/first.toml.")],
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Override a value: --set distill.clean=0.5"),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Train a fused model by a recipe.

    A run that was stopped goes on where it was.
    """
    from edgefr.errors import need
    from edgefr.manifest import read_manifest

    need("torch", "train")
    need("safetensors", "train")
    from edgefr.recipe import read_recipe
    from edgefr.train.recipe import Recipe
    from edgefr.train.run import train_fused

    result = train_fused(read_recipe(Recipe, recipe, settings or ()), progress)
    manifest = read_manifest(result)
    assert manifest is not None
    threshold = manifest.thresholds[0]
    if json:
        document = {"checkpoint": str(result), "threshold": threshold.value, "fmr": threshold.fmr}
        print_json(document | {"threshold_ci95": threshold.ci95, "trained_on": manifest.trained_on})
    else:
        low, high = threshold.ci95
        print(
            f"{result}: threshold {threshold.value:.3f} (95 % interval {low:.3f} to {high:.3f}) at a false match rate "
            f"of {threshold.fmr:g}.\nNext: edgefr export {result} -o model.onnx"
        )
