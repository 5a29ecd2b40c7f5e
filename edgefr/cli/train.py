"""edgefr train, and what all training commands share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgefr.cli.options import JsonOption
from edgefr.cli.output import print_json, progress

if TYPE_CHECKING:
    from edgefr.training.common.parallel import World
    from edgefr.training.common.progress import Progress

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

    The same command resumes a stopped run. On several processes: torchrun --nproc-per-node 2 -m edgefr train ...
    """
    with training_world() as (world, bars):
        from edgefr.io.toml_dataclass import read_toml
        from edgefr.training.common.recipes import FusionRecipe
        from edgefr.training.recogniser.fusion_training import train_fused

        result = train_fused(read_toml(FusionRecipe, recipe, settings or ()), bars, world)
    if world.first:
        print_result(result, json)


@contextmanager
def training_world(*libraries: str) -> Iterator[tuple[World, Progress]]:
    """Join the training processes; only the first one shows progress.

    Raises:
        MissingExtraError: One of the libraries, torch or safetensors is not installed.
    """
    from edgefr.errors import require_extra

    for library in ("torch", "safetensors", *libraries):
        require_extra(library, "train")
    from edgefr.training.common.memory import keep_freed_memory
    from edgefr.training.common.parallel import join_world
    from edgefr.training.common.progress import no_progress

    keep_freed_memory()
    with join_world() as world:
        yield world, progress if world.first else no_progress


def print_result(checkpoint: Path, json: bool) -> None:
    """Print a trained recogniser, its threshold and the next command."""
    from edgefr.manifest import read_manifest

    manifest = read_manifest(checkpoint)
    assert manifest is not None
    threshold = manifest.thresholds[0]
    if json:
        document = {"checkpoint": str(checkpoint), "threshold": threshold.value, "fmr": threshold.fmr}
        print_json(document | {"threshold_ci95": threshold.ci95, "trained_on": manifest.trained_on})
        return
    low, high = threshold.ci95
    print(
        f"{checkpoint}: threshold {threshold.value:.3f} (95 % interval {low:.3f} to {high:.3f}) at a false match rate "
        f"of {threshold.fmr:g}.\nNext: edgefr export {checkpoint} -o model.onnx"
    )
