"""What commands print: JSON on stdout for scripts, progress on stderr for people."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from rich.progress import Progress

Advance = Callable[[int], None]

_BARS: ContextVar[Progress | None] = ContextVar("bars", default=None)
"""Those on the terminal now: only one block of moving lines can be there."""


def print_json(document: dict[str, Any]) -> None:
    """One JSON document on stdout; NaN becomes null."""
    print(json.dumps(_plain(document), indent=2, allow_nan=False))


def warn(text: str) -> None:
    """What a script should log, too, on stderr."""
    print(text, file=sys.stderr)


def remark(text: str) -> None:
    """What somebody who waits wants to know: on stderr, where that is a terminal."""
    if sys.stderr.isatty():
        print(text, file=sys.stderr)


@contextmanager
def progress(title: str, total: int) -> Iterator[Advance]:
    """A bar on stderr with rate and remaining time, below that of the progress that this one is part of, if any;
    silent where stderr is no terminal."""
    if not sys.stderr.isatty():
        yield lambda _count: None
        return
    with ExitStack() as stack:
        bars = _BARS.get() or stack.enter_context(_shown_bars())
        task = bars.add_task(title, total=total)
        stack.callback(bars.remove_task, task)
        yield lambda count: bars.advance(task, count)


@contextmanager
def _shown_bars() -> Iterator[Progress]:
    from edgefr.cli.progress_bars import bars

    with bars() as shown:
        outside = _BARS.set(shown)
        try:
            yield shown
        finally:
            _BARS.reset(outside)


def table(header: list[str], rows: list[list[str]]) -> str:
    """Columns wide enough for their cells; the first is text, the others are numbers set to the right."""
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in [header, *rows]
    )


def _plain(value: Any) -> Any:
    """numpy values as Python's, NaN as None, dicts and lists all the way down."""
    if isinstance(value, dict):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value
