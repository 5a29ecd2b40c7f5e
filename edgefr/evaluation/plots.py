"""Plots of figures: DET curves, score histograms, lines with a band. They go to a file or, as SVG, into a page."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from pathlib import Path
from statistics import NormalDist
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from edgefr.errors import InvalidArgumentError, require_extra
from edgefr.evaluation.error_rates import FAILURE, Comparisons, DetCurve
from edgefr.io.files import atomic_write
from edgefr.types import Doubles

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Target = Path | BinaryIO
"""A .png, .svg or .pdf file to write, or a buffer for SVG."""

INK = "#24292f"
"""Colour of axes and text. In a page it becomes the colour of the page's text, light or dark."""

COLOURS = ("#e4572e", "#4c8bf5", "#2ca58d", "#b07cd8", "#d99a2b", "#7a8794", "#c2588b", "#5a9e3e")
"""Readable on white and on black. The first is that of the candidate."""

STYLES = ("-", "--", "-.", ":")

TICKS = (1e-5, 1e-4, 1e-3, 1e-2, 0.05, 0.2, 0.4)
PANEL = (4.6, 3.9)
"""Inches."""


@dataclass(frozen=True)
class Series:
    """A line through (x, y), (N,) each, with a band from `low` to `high` if they are given."""

    name: str
    x: Doubles
    y: Doubles
    low: Doubles | None = None
    high: Doubles | None = None


def plot_lines(target: Target, series: Sequence[Series], xlabel: str, ylabel: str, log_x: bool = False) -> None:
    """Plot lines with their bands in one panel, see `plot_line_panels`."""
    plot_line_panels(target, [("", series)], xlabel, ylabel, log_x)


def plot_line_panels(
    target: Target, panels: Sequence[tuple[str, Sequence[Series]]], xlabel: str, ylabel: str, log_x: bool = False
) -> None:
    """Plot lines with their bands in several panels, each with its own scale.

    Args:
        target: Where to write.
        panels: Titles and lines.
        xlabel: Label of the x axes.
        ylabel: Label of the y axes.
        log_x: Whether the x axes are logarithmic.

    Raises:
        MissingExtraError: matplotlib is not installed.
        EdgefrError: The file cannot be written.
    """

    def draw(axes: Axes, title: str, series: Sequence[Series]) -> None:
        for number, entry in enumerate(series):
            colour = COLOURS[number % len(COLOURS)]
            marker = "o" if len(entry.x) <= 20 else None
            axes.plot(entry.x, entry.y, STYLES[number % 4], color=colour, marker=marker, markersize=4, label=entry.name)
            if entry.low is not None and entry.high is not None:
                axes.fill_between(entry.x, entry.low, entry.high, color=colour, alpha=0.18, linewidth=0)
        if log_x:
            positive = min(float(entry.x[entry.x > 0].min()) for entry in series)
            axes.set_xscale("symlog", linthresh=positive)  # a 0 stands one step before the smallest
        axes.set(xlabel=xlabel, ylabel=ylabel, title=title)
        axes.legend(frameon=False, fontsize=8)

    _write(target, [partial(draw, title=title, series=series) for title, series in panels], min(2, len(panels)))


def plot_det_curves(target: Target, panels: Sequence[tuple[str, dict[str, DetCurve]]]) -> None:
    """Plot detection error trade-offs on normal deviate axes: a panel for every title, a curve for every system.

    Source: Martin et al. 1997, The DET curve in assessment of detection task performance. Rates of 0 are not drawn,
    because they are infinitely far away on such axes.
    """
    _write(target, [_det_panel(title, curves) for title, curves in panels], min(3, len(panels)))


def _det_panel(title: str, curves: dict[str, DetCurve]) -> Callable[[Axes], None]:
    deviate = NormalDist().inv_cdf

    def draw(axes: Axes) -> None:
        lowest = 0.01
        for number, (name, det) in enumerate(curves.items()):
            shown = (det.fmr > 0) & (det.fnmr > 0) & (det.fmr < 1) & (det.fnmr < 1)
            x, y = ([deviate(rate) for rate in rates[shown]] for rates in (det.fmr, det.fnmr))
            width = 2 if number == 0 else 1.2
            axes.plot(x, y, STYLES[number % 4], color=COLOURS[number % len(COLOURS)], linewidth=width, label=name)
            if shown.any():
                lowest = min(lowest, det.fmr[shown].min(), det.fnmr[shown].min())
        ticks = [rate for rate in TICKS if rate >= lowest / 10]
        labels = [f"{100 * rate:g}" for rate in ticks]
        places = [deviate(rate) for rate in ticks]
        bounds = deviate(max(lowest / 2, 1e-7)), deviate(0.5)
        axes.set_xticks(places, labels)
        axes.set_yticks(places, labels)
        axes.set(xlim=bounds, ylim=bounds, title=title, xlabel="FMR, %", ylabel="FNMR, %")
        axes.legend(frameon=False, fontsize=7)

    return draw


def plot_score_histogram(target: Target, title: str, comparisons: Comparisons) -> None:
    """Plot the distributions of genuine and impostor similarities, each with an area of 1, without failures to find
    a face.
    """

    def draw(axes: Axes) -> None:
        found = comparisons.similarity > FAILURE
        edges = np.linspace(min(-0.2, float(comparisons.similarity[found].min(initial=0))), 1, 81)
        kinds = (("impostor", ~comparisons.same, COLOURS[1]), ("genuine", comparisons.same, COLOURS[0]))
        for name, kind, colour in kinds:
            density, _ = np.histogram(comparisons.similarity[kind & found], edges)
            density = density / max(1, density.sum()) / np.diff(edges)
            axes.stairs(density, edges, fill=True, color=colour, alpha=0.35)
            axes.stairs(density, edges, color=colour, label=name)
        axes.set(title=title, xlabel="similarity", ylabel="density")
        axes.legend(frameon=False, fontsize=8)

    _write(target, [draw], 1)


def inline_svg(plot: Callable[[BinaryIO], None]) -> str:
    """A plot as an <svg> element for a page, with text in the colour of the page and without external addresses."""
    buffer = BytesIO()
    plot(buffer)
    svg = buffer.getvalue().decode("utf-8")
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r' xmlns(:\w+)?="[^"]*"', "", svg).replace("xlink:href", "href")
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)  # they repeat in every plot and are not used
    svg = re.sub(r' (width|height)="[\d.]+pt"', "", svg, count=2)  # the style of the page sets the size
    return svg.replace(INK, "currentColor")


def check_plot(path: Path) -> None:
    """Check that a plot can be written, before the work for it starts.

    Raises:
        MissingExtraError: matplotlib is not installed.
        InvalidArgumentError: The name does not end in .png, .svg or .pdf.
    """
    require_extra("matplotlib", "plot")
    if path.suffix.lower() not in (".png", ".svg", ".pdf"):
        raise InvalidArgumentError("a plot that ends in .png, .svg or .pdf", str(path), "choose another name")


def _write(target: Target, panels: Sequence[Callable[[Axes], None]], columns: int) -> None:
    matplotlib = require_extra("matplotlib", "plot")
    from matplotlib.figure import Figure

    if isinstance(target, Path):
        check_plot(target)
    style = dict.fromkeys(("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), INK)
    more = {"svg.fonttype": "none", "svg.hashsalt": "edgefr", "font.size": 9, "axes.titlesize": 9}
    with matplotlib.rc_context({**style, **more, "grid.color": INK, "grid.alpha": 0.15}):
        rows = -(-len(panels) // columns)
        figure = Figure(figsize=(PANEL[0] * columns, PANEL[1] * rows), layout="constrained")
        for number, draw in enumerate(panels):
            axes = figure.add_subplot(rows, columns, number + 1)
            axes.grid(visible=True)
            axes.spines[["top", "right"]].set_visible(False)
            draw(axes)
        _save(figure, target)


def _save(figure: Figure, target: Target) -> None:
    if not isinstance(target, Path):
        figure.savefig(target, format="svg", transparent=True, metadata={"Date": None})
        return
    with atomic_write(target) as temporary:
        figure.savefig(temporary, dpi=150)
