"""Output of commands: results and JSON on stdout; warnings, remarks and progress on stderr."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.progress import Progress

    from edgefr.detection.base import Face
    from edgefr.liveness.liveness_check import Liveness
    from edgefr.manifest import QualityLimit, Threshold

Advance = Callable[[int], None]

_BARS: ContextVar[Progress | None] = ContextVar("bars", default=None)
"""The bars on the terminal now. A terminal can show only one live block, so nested progress adds a bar to it."""


def print_json(document: dict[str, Any]) -> None:
    """Print a JSON document on stdout.

    Args:
        document: May hold numpy values. NaN and infinity become null.
    """
    print(json.dumps(_plain(document), indent=2, allow_nan=False))


def warn(text: str) -> None:
    """Print a warning on stderr, also if it is not a terminal."""
    print(text, file=sys.stderr)


def remark(text: str) -> None:
    """Print a remark on stderr if it is a terminal."""
    if sys.stderr.isatty():
        print(text, file=sys.stderr)


@contextmanager
def progress(title: str, total: int | None) -> Iterator[Advance]:
    """Show a progress bar with rate and remaining time on stderr; nothing if stderr is not a terminal.

    Args:
        title: Short description, for example "Embedding".
        total: Number of steps, None if it is not known.

    Yields:
        A function that advances the bar by a number of steps. Within another `progress` the bar is below the outer one.
    """
    if not sys.stderr.isatty():
        yield lambda _count: None
        return
    with ExitStack() as stack:
        bars = _BARS.get() or stack.enter_context(_live_bars())
        task = bars.add_task(title, total=total)
        stack.callback(bars.remove_task, task)
        yield lambda count: bars.advance(task, count)


@contextmanager
def _live_bars() -> Iterator[Progress]:
    from edgefr.cli.progress_bars import make_bars

    with make_bars() as bars:
        token = _BARS.set(bars)
        try:
            yield bars
        finally:
            _BARS.reset(token)


def box_text(face: Face) -> str:
    """Where a face is: "60x75 pixels at 120,80"."""
    x, y, width, height = (round(value) for value in face.box)
    return f"{width}x{height} pixels at {x},{y}"


def people_text(count: int) -> str:
    """A number of people: "1 person", "2,000 people"."""
    return f"{count:,} {'person' if count == 1 else 'people'}"


def time_text(at: float) -> str:
    """A time in seconds since 1970 as local date, time and offset."""
    return datetime.fromtimestamp(at, timezone.utc).astimezone().isoformat(" ", "seconds")


def day_text(at: float | None) -> str:
    """The local date of a time in seconds since 1970; "never" for None."""
    return "never" if at is None else time_text(at)[:10]


def table(header: list[str], rows: list[list[str]]) -> str:
    """Format a table with columns as wide as their longest cell.

    Args:
        header: Names of the columns.
        rows: Cells of each row. The first column is aligned to the left, the others to the right.

    Returns:
        One line for the header and one for each row.
    """
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in [header, *rows]
    )


def threshold_table(thresholds: Sequence[Threshold], quality: QualityLimit | None) -> str:
    """Calibrated thresholds and a quality limit.

    Args:
        thresholds: The thresholds; may be empty.
        quality: The limit, if there is one.

    Returns:
        A table of the thresholds, and a sentence for the limit.
    """
    rows = [[f"{entry.fmr:g}", f"{entry.value:.4f}", "{:.4f} to {:.4f}".format(*entry.ci95)] for entry in thresholds]
    lines = [table(["FMR", "threshold", "95 % interval"], rows)] if rows else []
    if quality is not None:
        lines.append(f"Quality limit: {quality.signal} of at least {quality.limit:.3g}, from {quality.measured_on}.")
    return "\n".join(lines)


def _plain(value: Any) -> Any:
    """Convert numpy values to those of Python and NaN to None, in nested dicts and lists, too."""
    if isinstance(value, dict):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    if hasattr(value, "tolist"):  # an array or a number of numpy, which is not imported for this
        return _plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def liveness_document(found: Liveness | None) -> dict[str, Any] | None:
    """The JSON object of a liveness check, None if there was none."""
    return None if found is None else {"live": found.live, "score": found.score, "threshold": found.threshold}
