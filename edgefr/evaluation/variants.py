"""Variants of a model side by side, as `edgefr sweep` finds them: rows, their table, their file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edgefr.errors import EdgefrError
from edgefr.evaluation.bootstrap import Estimate
from edgefr.evaluation.figures import Against, Judged
from edgefr.evaluation.tables import Table, judged_cells, judged_header, percent, points, times
from edgefr.io.files import atomic_write

MAX_BYTES = 16 << 20


@dataclass(frozen=True)
class Row:
    """A system's accuracy on the test folds in good light and pooled over all degraded protocols, and how its errors
    there compare with those of the better backbone and of the concatenation. `judged` is how the first variant does
    against this system there, None for itself. `value` is what was set for it, if anything."""

    name: str
    value: float | str | None
    clean: Estimate
    degraded: Estimate
    against: Against
    judged: Judged | None
    by_protocol: dict[str, Estimate]


def rows_table(title: str, rows: Sequence[Row]) -> Table:
    """One line a row, as `edgefr sweep` prints it and a report shows it."""
    first = next((row.judged.model for row in rows if row.judged is not None), None)
    header = ["system", "clean, %", "degraded, %", "errors / better backbone's", "gain over concatenation, points"]
    header += [] if first is None else judged_header(first)
    cells = [
        [row.name, percent(row.clean), percent(row.degraded), times(row.against.ratio), points(row.against.gain)]
        + ([] if first is None else judged_cells(row.judged))
        for row in rows
    ]
    note = "Over all degraded and mixed protocols but for clean; 95 % intervals, paired, by bootstrap over people."
    return Table(title, header, cells, (note,))


def write_rows(path: Path, rows: Sequence[Row]) -> None:
    """Rows as JSON, whole or not at all."""
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n", encoding="utf-8")


def read_rows(path: Path) -> list[Row]:
    """What `write_rows` wrote.

    Raises:
        EdgefrError: the file is missing, too large or something else.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ValueError(f"more than {MAX_BYTES >> 20} MiB")
        rows = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(rows, list):
            raise TypeError("no list")
        return [_row(raw) for raw in rows]
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise EdgefrError(
            f"the rows of a sweep in {path}", str(error), f"write them with `edgefr sweep ... -o {path}`"
        ) from error


def _row(raw: dict[str, Any]) -> Row:
    against, judged = raw["against"], raw.get("judged")  # absent from rows of before it was told
    return Row(
        str(raw["name"]),
        raw["value"],
        _estimate(raw["clean"]),
        _estimate(raw["degraded"]),
        Against(_estimate(against["ratio"]), str(against["better"]), _estimate(against["gain"])),
        judged and Judged(str(judged["model"]), _estimate(judged["ratio"]), _estimate(judged["gain"])),
        {str(name): _estimate(entry) for name, entry in raw["by_protocol"].items()},
    )


def _estimate(raw: dict[str, Any]) -> Estimate:
    low, high = raw["ci95"]
    return Estimate(float(raw["value"]), (float(low), float(high)))
