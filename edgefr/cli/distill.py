"""edgefr distill"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgefr.cli.options import JsonOption
from edgefr.cli.output import print_json, progress
from edgefr.cli.train import SetOption, tell


def distill(
    recipe: Annotated[Path, typer.Argument(help="A recipe, such as train/student.toml.")],
    settings: SetOption = None,
    json: JsonOption = False,
) -> None:
    """Train one small net to imitate a fused model or a backbone.

    A run that was stopped goes on where it was.
    """
    from edgefr.errors import require_extra

    require_extra("torch", "train")
    require_extra("safetensors", "train")
    from edgefr.io.toml_dataclass import read_toml
    from edgefr.training.common.parallel import world
    from edgefr.training.common.progress import silent
    from edgefr.training.recogniser.distillation import Student, distill_student

    with world() as here:
        student = read_toml(Student, recipe, settings or ())
        result = distill_student(student, progress if here.first else silent, here)
    if here.first:
        tell(result, print_json if json else None)
