"""edgefr sweep"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgefr.cli.options import JsonOption
from edgefr.cli.output import print_json, progress, table, warn
from edgefr.cli.train import SetOption

if TYPE_CHECKING:
    from edgefr.evaluate.ablation import Row


def sweep(
    recipes: Annotated[list[Path], typer.Argument(metavar="RECIPE...", help="Such as train/small-*.toml.")],
    over: Annotated[
        str | None, typer.Option(metavar="KEY=V1,V2,...", help="Every recipe once with each value: vib.beta=0,1e-3")
    ] = None,
    settings: SetOption = None,
    limit: Annotated[
        int | None, typer.Option(min=2, help="Test on so many of the test folds' pairs, drawn with a fixed seed.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write the rows as JSON, for eval --ablation.")
    ] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw accuracy over the values, .png or .svg.")] = None,
    json: JsonOption = False,
) -> None:
    """Train several recipes, or one with several values of a setting, and compare them on their test folds."""
    from edgefr.errors import EdgefrError, need
    from edgefr.evaluate.ablation import rows_table, write_rows

    need("torch", "train")
    need("safetensors", "train")
    if plot is not None:
        need("matplotlib", "plot")
        if over is None:
            raise EdgefrError("expected --over KEY=V1,V2,... for a plot, found none: say what to draw accuracy over")
    from edgefr.train.sweep import sweep as run
    from edgefr.train.sweep import variants

    def done(rows: list[Row]) -> None:
        row = rows[-1]
        warn(f"{row.name}: clean {row.clean.value:.2%}, degraded {row.degraded.value:.2%}")
        if output is not None:
            write_rows(output, rows)

    rows = run(variants(recipes, over, settings or ()), limit, progress, done)
    if plot is not None and over is not None:
        _draw(plot, rows, over.partition("=")[0])
    if json:
        print_json({"rows": [asdict(row) for row in rows]})
    else:
        found = rows_table("", rows)
        print(table(found.header, found.rows))


def _draw(path: Path, rows: list[Row], key: str) -> None:
    """Accuracy over the values in good light and in poor, each with its own scale; 0 stands a decade below."""
    import numpy as np

    from edgefr.evaluate.plots import Series, line_panels

    swept = [row for row in rows if isinstance(row.value, float)]
    least = min((row.value for row in swept if isinstance(row.value, float) and row.value > 0), default=1.0)
    x = np.array([row.value or least / 10 for row in swept], np.float64)
    drawn = []
    for title, estimates in (("clean", [row.clean for row in swept]), ("degraded", [row.degraded for row in swept])):
        value, low, high = 100 * np.array([(entry.value, *entry.ci95) for entry in estimates]).T
        drawn.append((title, [Series(title, x, value, low, high)]))
    line_panels(path, drawn, f"{key} (0 drawn at {least / 10:g})", "accuracy, %", log_x=True)
