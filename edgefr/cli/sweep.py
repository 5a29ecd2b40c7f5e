"""edgefr sweep"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgefr.cli.options import JsonOption
from edgefr.cli.output import print_json, table, warn
from edgefr.cli.train import SetOption, training_world

if TYPE_CHECKING:
    from edgefr.evaluation.bootstrap import Estimate
    from edgefr.evaluation.variants import Row
    from edgefr.training.recogniser.recipe_sweep import Variant


def sweep(
    recipes: Annotated[list[Path], typer.Argument(metavar="RECIPE...", help="Such as train/small-*.toml.")],
    over: Annotated[
        str | None, typer.Option(metavar="KEY=V1,V2,...", help="Train every recipe with each value: vib.beta=0,1e-3")
    ] = None,
    settings: SetOption = None,
    limit: Annotated[int | None, typer.Option(min=2, help="Number of test pairs, drawn with a fixed seed.")] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write the rows as JSON, for eval --ablation.")
    ] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw accuracy over the values, .png or .svg.")] = None,
    json: JsonOption = False,
) -> None:
    """Train several recipes, or one with several values of a setting, and compare them on their test folds.

    The table shows each variant, its backbones and baselines without training, and compares the first variant with all
    others, with paired intervals over people. On several processes: torchrun --nproc-per-node 2 -m edgefr sweep ...
    """
    with training_world() as (world, bars):
        from edgefr.evaluation.variants import rows_table, write_rows
        from edgefr.training.recogniser import recipe_sweep

        variants = recipe_sweep.expand_variants(recipes, over, settings or ())
        if plot is not None:
            _check_plot(plot, over, variants)

        def on_rows(rows: list[Row]) -> None:
            row = rows[-1]
            warn(f"{row.name}: clean {row.clean.value:.2%}, degraded {row.degraded.value:.2%}")
            if output is not None:
                write_rows(output, rows)

        rows = recipe_sweep.sweep(variants, limit, bars, on_rows, world)
    if not world.first:
        return
    if plot is not None:
        _draw(plot, rows, variants, (over or "").partition("=")[0])
    if json:
        print_json({"rows": [asdict(row) for row in rows]})
    else:
        columns = rows_table("", rows)
        print(table(columns.header, columns.rows))


def _check_plot(path: Path, over: str | None, variants: Sequence[Variant]) -> None:
    """Check before training that the plot can be drawn after it.

    Raises:
        EdgefrError: There are no values, or others than numbers from 0 on, or the file cannot be written.
    """
    from edgefr.errors import InvalidArgumentError
    from edgefr.evaluation.plots import check_plot

    check_plot(path)
    if over is None:
        raise InvalidArgumentError("--over KEY=V1,V2,... with --plot", "none", "name the setting of the x axis")
    for variant in variants:
        if not isinstance(variant.value, float) or not 0 <= variant.value < float("inf"):
            raise InvalidArgumentError(
                "numbers from 0 on in --over with --plot", str(variant.value), "leave out --plot or the value"
            )


def _draw(path: Path, rows: Sequence[Row], variants: Sequence[Variant], key: str) -> None:
    """Draw clean and degraded accuracy over the values, one line for each recipe; 0 is a decade below the others."""
    import numpy as np

    from edgefr.evaluation.plots import Series, plot_line_panels

    by_name = {row.name: row for row in rows}
    numbers = {variant.name: variant.value for variant in variants if isinstance(variant.value, float)}
    least = min(filter(None, numbers.values()), default=1.0)

    def line(base: str, estimate: Callable[[Row], Estimate]) -> Series:
        names = sorted((variant.name for variant in variants if variant.base == base), key=numbers.__getitem__)
        estimates = [estimate(by_name[name]) for name in names]
        value, low, high = 100 * np.array([(entry.value, *entry.ci95) for entry in estimates]).T
        return Series(base, np.array([numbers[name] or least / 10 for name in names]), value, low, high)

    bases = dict.fromkeys(variant.base for variant in variants)
    panels = [
        ("clean", [line(base, lambda row: row.clean) for base in bases]),
        ("degraded", [line(base, lambda row: row.degraded) for base in bases]),
    ]
    plot_line_panels(path, panels, f"{key} (0 drawn at {least / 10:g})", "accuracy, %", log_x=True)
