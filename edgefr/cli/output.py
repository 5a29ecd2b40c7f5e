"""What commands print: JSON on stdout for scripts, progress on stderr for people."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

Advance = Callable[[int], None]


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
    """A bar on stderr with rate and remaining time; silent where stderr is no terminal."""
    if not sys.stderr.isatty():
        yield lambda _count: None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(title, total=total)
        yield lambda count: bar.advance(task, count)


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
