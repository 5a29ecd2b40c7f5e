"""An evaluation as one page that needs nothing beside it: tables, curves, the hardest pairs, where all comes from."""

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
from edgefr.evaluation.error_rates import FAILURE, Det, det
from edgefr.evaluation.figures import Discards, Pooled
from edgefr.evaluation.plots import Series, det_curves, inline_svg, lines, score_histogram
from edgefr.evaluation.protocols import Look, Trial
from edgefr.evaluation.tables import (
    Result,
    Table,
    accuracy_table,
    discards_table,
    others_table,
    pooled_table,
    times,
    trial_table,
)
from edgefr.io.files import atomic_write
from edgefr.types import Image

HARDEST = 6
"""Pairs of either kind that are shown of each trial."""


@dataclass(frozen=True)
class Evaluation:
    """All that a page shows; `judged` is the model's name, `origin` says of what and on what the figures are, and
    `doubts` why not to believe them."""

    judged: str
    results: list[Result]
    pooled: list[Pooled]
    discards: list[Discards]
    origin: dict[str, str]
    warnings: Sequence[str] = ()


@dataclass(frozen=True)
class HardPair:
    """Two faces, as the systems saw them, that the judged model takes for what they are not, or nearly does."""

    first: Look
    second: Look
    similarity: float


def write_report(path: Path, evaluation: Evaluation, extra: Sequence[Table] = ()) -> None:
    """Write the page; `extra` tables, such as an ablation's, stand behind the others. Plots need matplotlib, the rest
    does without.

    Raises:
        EdgefrError: the page cannot be written.
    """
    page = page_of(evaluation, extra)
    with atomic_write(path) as temporary:
        temporary.write_text(page, encoding="utf-8")


def page_of(evaluation: Evaluation, extra: Sequence[Table] = ()) -> str:
    """The page as HTML."""
    style = resources.files("edgefr.evaluation").joinpath("report.css").read_text(encoding="utf-8")
    title = escape(f"{evaluation.judged}, evaluated")
    body = [
        f"<h1>{title}</h1>",
        *(f'<p class="doubt">{escape(doubt)}</p>' for doubt in evaluation.warnings),
        _lead(evaluation),
        *(_table(table) for table in summary(evaluation)),
        _contents(evaluation.results),
        *(_section(number, result, evaluation.judged) for number, result in enumerate(evaluation.results)),
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


def summary(evaluation: Evaluation) -> list[Table]:
    """What comes before the single trials."""
    tables = [pooled_table(evaluation.pooled)] if evaluation.pooled else []
    folded = [result for result in evaluation.results if result.trial.accuracy]
    return tables + ([accuracy_table(folded)] if len(folded) > 1 else [])


def tables_of(evaluation: Evaluation) -> list[Table]:
    """Every table, in the page's order."""
    tables = summary(evaluation)
    for result in evaluation.results:
        tables += [trial_table(result), *filter(None, [others_table(result)])]
    return tables + ([discards_table(evaluation.discards)] if evaluation.discards else [])


def hardest(trial: Trial, judged: str) -> tuple[list[HardPair], list[HardPair]]:
    """The most similar impostors and the least similar genuine pairs, both of whose faces were found."""
    if trial.looks is None:
        return [], []
    comparisons = trial.comparisons[judged]
    found = comparisons.similarity > FAILURE
    kinds = []
    for kind, sign in ((~comparisons.same, -1), (comparisons.same, 1)):
        index = np.flatnonzero(kind & found)
        worst = index[np.argsort(sign * comparisons.similarity[index], kind="stable")[:HARDEST]]
        kinds.append([HardPair(*trial.looks(int(place)), float(comparisons.similarity[place])) for place in worst])
    return kinds[0], kinds[1]


def _lead(evaluation: Evaluation) -> str:
    first = evaluation.pooled[0] if evaluation.pooled else None
    if first is None or first.against is None:
        return ""
    return (
        f'<p class="lead">Over all degraded and mixed protocols <strong>{times(first.against.ratio)}</strong> times '
        f"the errors of the better backbone ({escape(first.against.better)}): {first.errors:,} errors in "
        f"{first.decisions:,} decisions.</p>"
        '<p class="note">Brackets hold 95 % intervals of a bootstrap over people.</p>'
    )


def _contents(results: Sequence[Result]) -> str:
    links = "".join(f'<a href="#trial-{number}">{escape(result.title)}</a>' for number, result in enumerate(results))
    return f"<nav>{links}</nav>"


def _section(number: int, result: Result, judged: str) -> str:
    trial = result.trial
    curves = {name: det(comparisons) for name, comparisons in trial.comparisons.items()}
    further = others_table(result)
    return (
        f'<section id="trial-{number}">{_table(trial_table(result))}{_table(further) if further else ""}'
        f'<div class="plots">{_plot(partial(_det, curves))}'
        f"{_plot(lambda target: score_histogram(target, f'Scores of {judged}', trial.comparisons[judged]))}</div>"
        f"{_hardest(trial, judged)}</section>"
    )


def _det(curves: dict[str, Det], target: BinaryIO) -> None:
    det_curves(target, [("Detection error trade-off", curves)])


def _quality(found: Sequence[Discards]) -> str:
    if not found:
        return ""
    series = [Series(entry.signal, entry.curve.discarded, entry.curve.fnmr) for entry in found]
    series.append(Series("ideal", found[0].curve.discarded, found[0].curve.ideal))
    plot = _plot(lambda target: lines(target, series, "share of comparisons discarded", "FNMR of those that remain"))
    return f'<section>{_table(discards_table(found))}<div class="plots">{plot}</div></section>'


def _hardest(trial: Trial, judged: str) -> str:
    impostors, genuine = hardest(trial, judged)
    blocks = [
        f'<h3>{heading}</h3><div class="pairs">{"".join(_pair(pair) for pair in pairs)}</div>'
        for heading, pairs in (("Impostors, most similar first", impostors), ("Genuine, least similar first", genuine))
        if pairs
    ]
    return f"<details><summary>Hardest pairs</summary>{''.join(blocks)}</details>" if blocks else ""


def _pair(pair: HardPair) -> str:
    faces = "".join(_thumbnail(look) for look in (pair.first, pair.second))
    names = " and ".join(escape(name) for name, _ in (pair.first, pair.second))
    return f"<figure>{faces}<figcaption><b>{pair.similarity:.3f}</b> {names}</figcaption></figure>"


def _thumbnail(look: Look) -> str:
    name, face = look
    return f'<img alt="{escape(name)}" src="data:image/jpeg;base64,{_jpeg(face)}">'


def _jpeg(face: Image) -> str:
    _, encoded = cv2.imencode(".jpg", cv2.cvtColor(face, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 88])
    return base64.b64encode(encoded.tobytes()).decode("ascii")


def _table(table: Table) -> str:
    header = "".join(f"<th>{escape(cell)}</th>" for cell in table.header)
    rows = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in table.rows)
    notes = "".join(f'<p class="note">{escape(note)}</p>' for note in table.notes)
    kind = ' class="systems"' if table.header[0] == "system" else ""  # whose first row is the judged model
    return (
        f'<h2>{escape(table.title)}</h2><div class="wide"><table{kind}><thead><tr>{header}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div>{notes}"
    )


def _origin(origin: dict[str, str]) -> str:
    rows = "".join(f"<tr><td>{escape(name)}</td><td>{escape(value)}</td></tr>" for name, value in origin.items())
    return f'<h2>Where this comes from</h2><div class="wide"><table class="plain"><tbody>{rows}</tbody></table></div>'


def _plot(draw: Callable[[BinaryIO], None]) -> str:
    try:
        return f"<div>{inline_svg(draw)}</div>"
    except MissingExtraError as error:
        return f'<p class="note">No plot: {escape(str(error))}.</p>'
