"""edgefr distill"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgefr.cli.options import JsonOption
from edgefr.cli.train import SetOption, print_result, training_world


def distill(
    recipe: Annotated[Path, typer.Argument(help="A recipe, such as train/student.toml.")],
    settings: SetOption = None,
    json: JsonOption = False,
) -> None:
    """Train one small net to imitate a fused model or a backbone.

    The same command resumes a stopped run.
    """
    with training_world() as (world, bars):
        from edgefr.io.toml_dataclass import read_toml
        from edgefr.training.recogniser.distillation import DistillationRecipe, distill_student

        result = distill_student(read_toml(DistillationRecipe, recipe, settings or ()), bars, world)
    if world.first:
        print_result(result, json)
