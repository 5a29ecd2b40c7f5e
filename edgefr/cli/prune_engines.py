"""edgefr prune-engines"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from edgefr.cli.options import JsonOption, chosen_model
from edgefr.cli.output import print_json


def prune_engines(
    model: Annotated[
        Path | None,
        typer.Argument(help="An .onnx file, or mini: engines of another file of that name go, too."),
    ] = None,
    cache: Annotated[Path, typer.Option(help="The folder of engines.")] = Path("engines/cache"),
    json: JsonOption = False,
) -> None:
    """Remove engines that were built for this device by another version of their runtime, or for another driver.

    Nothing loads them any more. Engines for other devices stay. With MODEL those go as well that were built from
    another file of its name: they can still be loaded, and a gallery may have been enrolled with one.
    """
    from edgefr.engines.pruning import prune

    removed = []
    for pruned in prune(cache, None if model is None else chosen_model(model)):
        removed.append(pruned)
        if not json:
            print(f"{pruned.folder} ({pruned.bytes / 1e6:.1f} MB, {pruned.why})")
    if json:
        print_json({"removed": [asdict(pruned) | {"folder": str(pruned.folder)} for pruned in removed]})
    else:
        print(f"{len(removed)} removed, {sum(pruned.bytes for pruned in removed) / 1e6:.1f} MB.")
