"""Compares variants of a model, as `edgefr sweep` trains them: rows, their table, their file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edgefr.errors import EdgefrError
from edgefr.evaluation.bootstrap import Estimate
from edgefr.evaluation.figures import BackboneComparison, CandidateComparison
from edgefr.evaluation.tables import (
    Table,
    candidate_cells,
    candidate_header,
    format_percent,
    format_points,
    format_ratio,
)
from edgefr.io.files import atomic_write

MAX_BYTES = 16 << 20


@dataclass(frozen=True)
class Row:
    """The result of one variant or baseline. The field names are those of the JSON file.

    Attributes:
        name: Its name.
        value: The value of the setting that was varied, if any.
        clean: Accuracy on the test folds without degradation.
        degraded: Accuracy pooled over all degraded protocols.
        against: Comparison with the better backbone and the concatenation there.
        judged: Comparison of the first variant with this one there; None for the first variant itself.
        by_protocol: Protocol -> accuracy.
    """

    name: str
    value: float | str | None
    clean: Estimate
    degraded: Estimate
    against: BackboneComparison
    judged: CandidateComparison | None
    by_protocol: dict[str, Estimate]


def rows_table(title: str, rows: Sequence[Row]) -> Table:
    """The table of rows, as `edgefr sweep` prints it and a report shows it."""
    first = next((row.judged.model for row in rows if row.judged is not None), None)
    header = ["system", "clean, %", "degraded, %", "errors / better backbone's", "gain over concatenation, points"]
    header += [] if first is None else candidate_header(first)
    cells = [
        [
            row.name,
            format_percent(row.clean),
            format_percent(row.degraded),
            format_ratio(row.against.ratio),
            format_points(row.against.gain),
        ]
        + ([] if first is None else candidate_cells(row.judged))
        for row in rows
    ]
    note = "Over all degraded and mixed protocols, except for clean. 95 % intervals by paired bootstrap over people."
    return Table(title, header, cells, (note,))


def write_rows(path: Path, rows: Sequence[Row]) -> None:
    """Write rows as JSON."""
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n", encoding="utf-8")


def read_rows(path: Path) -> list[Row]:
    """Read what `write_rows` wrote.

    Raises:
        EdgefrError: The file is missing, too large or something else.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ValueError(f"more than {MAX_BYTES >> 20} MiB")
        rows = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(rows, list):
            raise TypeError("not a list")
        return [_row(raw) for raw in rows]
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise EdgefrError(
            f"the rows of a sweep in {path}", str(error), f"write them with `edgefr sweep ... -o {path}`"
        ) from error


def _row(raw: dict[str, Any]) -> Row:
    against, judged = raw["against"], raw.get("judged")  # older rows do not have it
    return Row(
        str(raw["name"]),
        raw["value"],
        _estimate(raw["clean"]),
        _estimate(raw["degraded"]),
        BackboneComparison(_estimate(against["ratio"]), str(against["better"]), _estimate(against["gain"])),
        judged and CandidateComparison(str(judged["model"]), _estimate(judged["ratio"]), _estimate(judged["gain"])),
        {str(name): _estimate(entry) for name, entry in raw["by_protocol"].items()},
    )


def _estimate(raw: dict[str, Any]) -> Estimate:
    low, high = raw["ci95"]
    return Estimate(float(raw["value"]), (float(low), float(high)))
