"""edgefr train"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from edgefr.cli.options import JsonOption
from edgefr.cli.output import print_json, progress

SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override a value: --set vib.beta=1e-4"),
]


def train(
    recipe: Annotated[Path, typer.Argument(help="A recipe, such as train/first.toml.")],
    settings: SetOption = None,
    json: JsonOption = False,
) -> None:
    """Train a fused model by a recipe.

    A run that was stopped goes on where it was. On several processes: torchrun --nproc-per-node 2 -m edgefr train ...
    """
    from edgefr.errors import require_extra

    require_extra("torch", "train")
    require_extra("safetensors", "train")
    from edgefr.io.toml_dataclass import read_toml
    from edgefr.training.common.parallel import world
    from edgefr.training.common.progress import silent
    from edgefr.training.common.recipes import Recipe
    from edgefr.training.recogniser.fusion_training import train_fused

    with world() as here:
        result = train_fused(read_toml(Recipe, recipe, settings or ()), progress if here.first else silent, here)
    if here.first:
        tell(result, print_json if json else None)


def tell(result: Path, as_json: Callable[[dict[str, Any]], None] | None) -> None:
    """What was trained, its threshold, and what to do next."""
    from edgefr.manifest import read_manifest

    manifest = read_manifest(result)
    assert manifest is not None
    threshold = manifest.thresholds[0]
    if as_json is not None:
        document = {"checkpoint": str(result), "threshold": threshold.value, "fmr": threshold.fmr}
        as_json(document | {"threshold_ci95": threshold.ci95, "trained_on": manifest.trained_on})
        return
    low, high = threshold.ci95
    print(
        f"{result}: threshold {threshold.value:.3f} (95 % interval {low:.3f} to {high:.3f}) at a false match rate "
        f"of {threshold.fmr:g}.\nNext: edgefr export {result} -o model.onnx"
    )
