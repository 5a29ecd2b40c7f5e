"""edgefr sweep"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgefr.cli.options import JsonOption
from edgefr.cli.output import print_json, progress, table, warn
from edgefr.cli.train import SetOption

if TYPE_CHECKING:
    from edgefr.evaluation.bootstrap import Estimate
    from edgefr.evaluation.variants import Row
    from edgefr.training.recogniser.recipe_sweep import Variant


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
    """Train several recipes, or one with several values of a setting, and compare them on their test folds.

    Each stands beside its backbones and what needs no training, and the first against every other, by paired intervals
    over people. On several processes: torchrun --nproc-per-node 2 -m edgefr sweep ...
    """
    from edgefr.errors import require_extra
    from edgefr.evaluation.variants import rows_table, write_rows

    require_extra("torch", "train")
    require_extra("safetensors", "train")
    from edgefr.training.common.parallel import world
    from edgefr.training.common.progress import silent
    from edgefr.training.recogniser.recipe_sweep import sweep as run
    from edgefr.training.recogniser.recipe_sweep import variants

    chosen = variants(recipes, over, settings or ())
    if plot is not None:
        _check_plot(plot, over, chosen)

    def done(rows: list[Row]) -> None:
        row = rows[-1]
        warn(f"{row.name}: clean {row.clean.value:.2%}, degraded {row.degraded.value:.2%}")
        if output is not None:
            write_rows(output, rows)

    with world() as here:
        rows = run(chosen, limit, progress if here.first else silent, done, here)
    if not here.first:
        return
    if plot is not None:
        _draw(plot, rows, chosen, (over or "").partition("=")[0])
    if json:
        print_json({"rows": [asdict(row) for row in rows]})
    else:
        found = rows_table("", rows)
        print(table(found.header, found.rows))


def _check_plot(path: Path, over: str | None, chosen: Sequence[Variant]) -> None:
    """Refuse before training what could not be drawn after it.

    Raises:
        EdgefrError: there are no values, or others than numbers from 0 on, or the file cannot be written.
    """
    from edgefr.errors import EdgefrError
    from edgefr.evaluation.plots import check_plot

    check_plot(path)
    if over is None:
        raise EdgefrError("--over KEY=V1,V2,... for a plot", "none", "say what to draw accuracy over")
    for variant in chosen:
        if not isinstance(variant.value, float) or not 0 <= variant.value < float("inf"):
            raise EdgefrError(
                "numbers from 0 on in --over for a plot", str(variant.value), "leave out --plot or the value"
            )


def _draw(path: Path, rows: Sequence[Row], chosen: Sequence[Variant], key: str) -> None:
    """Accuracy over the values in good light and in poor, a line a recipe; 0 stands a decade below the others."""
    import numpy as np

    from edgefr.evaluation.plots import Series, plot_line_panels

    by_name = {row.name: row for row in rows}
    numbers = {variant.name: variant.value for variant in chosen if isinstance(variant.value, float)}
    least = min(filter(None, numbers.values()), default=1.0)

    def line(base: str, estimate: Callable[[Row], Estimate]) -> Series:
        names = sorted((variant.name for variant in chosen if variant.base == base), key=numbers.__getitem__)
        found = [estimate(by_name[name]) for name in names]
        value, low, high = 100 * np.array([(entry.value, *entry.ci95) for entry in found]).T
        return Series(base, np.array([numbers[name] or least / 10 for name in names]), value, low, high)

    bases = dict.fromkeys(variant.base for variant in chosen)
    panels = [
        ("clean", [line(base, lambda row: row.clean) for base in bases]),
        ("degraded", [line(base, lambda row: row.degraded) for base in bases]),
    ]
    plot_line_panels(path, panels, f"{key} (0 drawn at {least / 10:g})", "accuracy, %", log_x=True)
