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
        typer.Argument(help="An .onnx file, or mini: also remove engines of another file with this name."),
    ] = None,
    cache: Annotated[Path, typer.Option(help="Folder of engines.")] = Path("engines/cache"),
    json: JsonOption = False,
) -> None:
    """Remove engines of this device that another version of their runtime or another driver built.

    These engines cannot be loaded any more. Engines for other devices stay. With MODEL, engines of another file with
    its name are removed as well. They can still be loaded, and a gallery may have been enrolled with one.
    """
    from edgefr.engines import pruning

    removed = []
    for pruned in pruning.prune_engines(cache, None if model is None else chosen_model(model)):
        removed.append(pruned)
        if not json:
            print(f"{pruned.folder} ({pruned.bytes / 1e6:.1f} MB, {pruned.why})")
    if json:
        print_json({"removed": [asdict(pruned) | {"folder": str(pruned.folder)} for pruned in removed]})
    else:
        print(f"{len(removed)} removed, {sum(pruned.bytes for pruned in removed) / 1e6:.1f} MB.")
