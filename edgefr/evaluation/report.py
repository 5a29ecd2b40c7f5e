"""An evaluation as a self-contained HTML page: tables, curves, the hardest pairs, and where the figures come from."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from html import escape
from importlib import resources
from pathlib import Path
from typing import BinaryIO

import cv2
import numpy as np

from edgefr.errors import MissingExtraError
from edgefr.evaluation.error_rates import FAILURE, det_curve
from edgefr.evaluation.figures import PooledFigures, SignalFigures
from edgefr.evaluation.plots import Series, inline_svg, plot_det_curves, plot_lines, plot_score_histogram
from edgefr.evaluation.protocols import Thumbnail, Trial
from edgefr.evaluation.tables import (
    Result,
    Table,
    accuracy_table,
    discards_table,
    format_ratio,
    others_table,
    pooled_table,
    trial_table,
)
from edgefr.io.files import atomic_write
from edgefr.types import Image

HARDEST = 6
"""Pairs of each kind that are shown for each trial."""


@dataclass(frozen=True)
class Evaluation:
    """All that a page shows.

    Attributes:
        candidate: Name of the model that is compared with all others.
        results: Trials and their figures.
        pooled: Figures over all degraded trials.
        discards: Figures of quality signals.
        origin: Name -> value: the models, data, machine and versions that the figures come from.
        warnings: Reasons not to trust the figures.
    """

    candidate: str
    results: list[Result]
    pooled: list[PooledFigures]
    discards: list[SignalFigures]
    origin: dict[str, str]
    warnings: Sequence[str] = ()


@dataclass(frozen=True)
class HardPair:
    """Two faces that the candidate decides wrongly, or nearly so."""

    first: Thumbnail
    second: Thumbnail
    similarity: float


def write_report(path: Path, evaluation: Evaluation, extra: Sequence[Table] = ()) -> None:
    """Write an evaluation as one HTML file, with `extra` tables at its end. Without matplotlib it has no plots.

    Only its owner can read the file, because it shows the faces of the hardest pairs.

    Raises:
        UnavailableError: The file cannot be written.
    """
    page = render_page(evaluation, extra)
    with atomic_write(path, private=True) as temporary:
        temporary.write_text(page, encoding="utf-8")


def render_page(evaluation: Evaluation, extra: Sequence[Table] = ()) -> str:
    """The page as HTML, see `write_report`."""
    style = resources.files("edgefr.evaluation").joinpath("report.css").read_text(encoding="utf-8")
    title = escape(f"Evaluation of {evaluation.candidate}")
    body = [
        f"<h1>{title}</h1>",
        *(f'<p class="warning">{escape(text)}</p>' for text in evaluation.warnings),
        _lead(evaluation),
        *(_table(table) for table in summary_tables(evaluation)),
        _contents(evaluation.results),
        *(_section(number, result, evaluation.candidate) for number, result in enumerate(evaluation.results)),
        _quality(evaluation.discards),
        *(_table(table) for table in extra),
        _origin(evaluation.origin),
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{title}</title><style>{style}</style></head>\n<body><main>\n"
        + "\n".join(body)
        + "\n</main></body></html>\n"
    )


def summary_tables(evaluation: Evaluation) -> list[Table]:
    """The tables before those of single trials."""
    tables = [pooled_table(evaluation.pooled)] if evaluation.pooled else []
    folded = [result for result in evaluation.results if result.trial.accuracy]
    return tables + ([accuracy_table(folded)] if len(folded) > 1 else [])


def all_tables(evaluation: Evaluation) -> list[Table]:
    """All tables in the order of the page."""
    tables = summary_tables(evaluation)
    for result in evaluation.results:
        tables += [trial_table(result), *filter(None, [others_table(result)])]
    return tables + ([discards_table(evaluation.discards)] if evaluation.discards else [])


def hardest_pairs(trial: Trial, candidate: str) -> tuple[list[HardPair], list[HardPair]]:
    """The most similar impostor pairs and the least similar genuine pairs, without those in which no face was found."""
    if trial.thumbnails is None:
        return [], []
    comparisons = trial.comparisons[candidate]
    found = comparisons.similarity > FAILURE
    kinds = []
    for kind, sign in ((~comparisons.same, -1), (comparisons.same, 1)):
        shown = np.flatnonzero(kind & found)
        worst = shown[np.argsort(sign * comparisons.similarity[shown], kind="stable")[:HARDEST]]
        kinds.append([HardPair(*trial.thumbnails(int(index)), float(comparisons.similarity[index])) for index in worst])
    return kinds[0], kinds[1]


def plot_evaluation(path: Path, evaluation: Evaluation) -> None:
    """Plot the DET curves of all trials into a .png, .svg or .pdf file."""
    panels = [
        (result.title, {name: det_curve(comparisons) for name, comparisons in result.trial.comparisons.items()})
        for result in evaluation.results
    ]
    plot_det_curves(path, panels)


def _lead(evaluation: Evaluation) -> str:
    first = evaluation.pooled[0] if evaluation.pooled else None
    if first is None or first.against is None:
        return ""
    ratio, better = format_ratio(first.against.ratio), escape(first.against.better)
    return (
        f'<p class="lead">Over all degraded and mixed protocols <strong>{ratio}</strong> times the errors of the '
        f"better backbone ({better}): {first.errors:,} errors in {first.decisions:,} decisions.</p>"
        '<p class="note">Brackets hold 95 % intervals of a bootstrap over people.</p>'
    )


def _contents(results: Sequence[Result]) -> str:
    links = "".join(f'<a href="#trial-{number}">{escape(result.title)}</a>' for number, result in enumerate(results))
    return f"<nav>{links}</nav>"


def _section(number: int, result: Result, candidate: str) -> str:
    trial = result.trial
    curves = {name: det_curve(comparisons) for name, comparisons in trial.comparisons.items()}
    scores = partial(plot_score_histogram, title=f"Scores of {candidate}", comparisons=trial.comparisons[candidate])
    det = partial(plot_det_curves, panels=[("Detection error trade-off", curves)])
    further = others_table(result)
    return (
        f'<section id="trial-{number}">{_table(trial_table(result))}{_table(further) if further else ""}'
        f'<div class="plots">{_plot(det)}{_plot(scores)}</div>{_hardest(trial, candidate)}</section>'
    )


def _quality(found: Sequence[SignalFigures]) -> str:
    if not found:
        return ""
    series = [Series(entry.signal, entry.curve.discarded, entry.curve.fnmr) for entry in found]
    series.append(Series("ideal", found[0].curve.discarded, found[0].curve.ideal))
    plot = _plot(lambda target: plot_lines(target, series, "share of comparisons discarded", "FNMR of the others"))
    return f'<section>{_table(discards_table(found))}<div class="plots">{plot}</div></section>'


def _hardest(trial: Trial, candidate: str) -> str:
    impostors, genuine = hardest_pairs(trial, candidate)
    blocks = [
        f'<h3>{heading}</h3><div class="pairs">{"".join(_pair(pair) for pair in pairs)}</div>'
        for heading, pairs in (("Impostors, most similar first", impostors), ("Genuine, least similar first", genuine))
        if pairs
    ]
    return f"<details><summary>Hardest pairs</summary>{''.join(blocks)}</details>" if blocks else ""


def _pair(pair: HardPair) -> str:
    faces = "".join(_thumbnail(entry) for entry in (pair.first, pair.second))
    names = " and ".join(escape(name) for name, _ in (pair.first, pair.second))
    return f"<figure>{faces}<figcaption><b>{pair.similarity:.3f}</b> {names}</figcaption></figure>"


def _thumbnail(entry: Thumbnail) -> str:
    name, face = entry
    return f'<img alt="{escape(name)}" src="data:image/jpeg;base64,{_jpeg(face)}">'


def _jpeg(face: Image) -> str:
    _, encoded = cv2.imencode(".jpg", cv2.cvtColor(face, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 88])
    return base64.b64encode(encoded.tobytes()).decode("ascii")


def _table(table: Table) -> str:
    header = "".join(f"<th>{escape(cell)}</th>" for cell in table.header)
    rows = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in table.rows)
    notes = "".join(f'<p class="note">{escape(note)}</p>' for note in table.notes)
    kind = ' class="systems"' if table.header[0] == "system" else ""  # its first row is the candidate
    return (
        f'<h2>{escape(table.title)}</h2><div class="wide"><table{kind}><thead><tr>{header}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div>{notes}"
    )


def _origin(origin: dict[str, str]) -> str:
    rows = "".join(f"<tr><td>{escape(name)}</td><td>{escape(value)}</td></tr>" for name, value in origin.items())
    return f'<h2>Origin of the figures</h2><div class="wide"><table class="plain"><tbody>{rows}</tbody></table></div>'


def _plot(draw: Callable[[BinaryIO], None]) -> str:
    try:
        return f"<div>{inline_svg(draw)}</div>"
    except MissingExtraError as error:
        return f'<p class="note">No plot: {escape(str(error))}.</p>'
