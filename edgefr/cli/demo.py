"""edgefr demo"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgefr.cli.options import DetectorOption, JsonOption, ModelOption, chosen_model
from edgefr.cli.output import print_json


def demo(
    output: Annotated[Path, typer.Option("--output", "-o", help="The annotated picture to write.")] = Path("demo.png"),
    model: ModelOption = None,
    detector: DetectorOption = None,
    json: JsonOption = False,
) -> None:
    """Verify photographs that scikit-image and matplotlib contain.

    Compares an astronaut with a bad copy of her photograph and with a rear admiral, and draws the result. Exit 0 if
    both answers are right, 1 if not, 2 error.
    """
    from edgefr.demo import run_demo
    from edgefr.recognition.verifier import Verifier

    verifier = Verifier.open(chosen_model(model), detector, images=3)
    answers = run_demo(verifier, output)
    if json:
        print_json({"output": str(output), "answers": [answer.to_dict() for answer in answers]})
    else:
        print("\n".join(answer.sentence() for answer in answers))
        print(f"See {output}.")
    raise typer.Exit(0 if all(answer.right for answer in answers) else 1)
