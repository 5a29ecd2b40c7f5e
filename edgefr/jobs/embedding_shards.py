"""Shards: Parquet files with a row for each photograph, of its face or of why there is none; whole or absent."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgefr.errors import EdgefrError, require_extra
from edgefr.io.files import atomic_write
from edgefr.jobs.job_description import Job
from edgefr.types import METADATA_KEY, Floats

ROWS = 512
"""Rows that are read at a time."""


@dataclass(frozen=True)
class Row:
    """What became of a photograph: a face, or `refused`, why there is none; all else is then None.

    `beside` is how wide the widest other face is, in widths of this one: 0 where there is none. The others are as in
    `verify.EmbeddedFace` and `face.detect.Face`.
    """

    path: str
    refused: str | None = None
    embedding: Floats | None = None
    norm: float | None = None
    uncertainty: float | None = None
    box: Floats | None = None
    landmarks: Floats | None = None
    score: float | None = None
    sharpness: float | None = None
    beside: float | None = None


def shard_path(folder: Path, number: int) -> Path:
    return folder / f"part-{number:05d}.parquet"


def write_shard(folder: Path, job: Job, number: int, rows: Sequence[Row]) -> None:
    """Write a shard; its metadata under `edgefr` say of which job it is.

    Raises:
        EdgefrError: the folder cannot be written.
    """
    pa, parquet = require_extra("pyarrow", "bulk"), require_extra("pyarrow.parquet", "bulk")
    schema = _schema(pa, job, number)
    columns = [_column(pa, field, [getattr(row, field.name) for row in rows]) for field in schema]
    table = pa.Table.from_arrays(columns, schema=schema)
    with atomic_write(shard_path(folder, number)) as temporary:
        parquet.write_table(table, temporary, compression="zstd", use_dictionary=["refused"])


def whole_shards(folder: Path, job: Job) -> dict[int, int]:
    """Of each shard that is there the number and how many of its photographs were refused.

    Raises:
        EdgefrError: one is damaged, or of another job.
    """
    return {
        number: _refused_of(folder, job, number) for number in range(job.shards) if shard_path(folder, number).is_file()
    }


def insist_on_all(folder: Path, job: Job) -> None:
    """Raises EdgefrError where a shard is missing, of another job, or evidently damaged."""
    whole = whole_shards(folder, job)
    for number in range(job.shards):
        if number not in whole:
            raise EdgefrError(
                f"all {job.shards:,} shards of the job in {folder}",
                f"no part {number:05d}",
                "finish it with the `edgefr embed` command that began it",
            )


def read_rows(folder: Path, job: Job, columns: Sequence[str] | None = None) -> Iterator[Row]:
    """All rows of all shards in the order of the job's list, or of each these `columns`, `path` among them.

    Raises:
        EdgefrError: a shard is missing or of another job, said before the first row; or damaged.
    """
    insist_on_all(folder, job)
    for number in range(job.shards):
        with _opened(folder, number) as file:
            for batch in file.iter_batches(ROWS, columns=columns):
                yield from _rows(batch)


def refusals(folder: Path, job: Job) -> Iterator[Row]:
    """The rows of those that were refused, with path and reason only."""
    return (row for row in read_rows(folder, job, ["path", "refused"]) if row.refused is not None)


def _schema(pa: Any, job: Job, number: int) -> Any:
    """The columns; `read_rows` and docs/bulk.md have them, too."""
    vector = pa.list_(pa.float32(), job.binding.embedding_dim)
    return pa.schema(
        [
            pa.field("path", pa.string(), nullable=False),
            ("refused", pa.string()),
            ("embedding", vector),
            ("norm", pa.float32()),
            ("uncertainty", pa.float32()),
            ("box", pa.list_(pa.float32(), 4)),
            ("landmarks", pa.list_(pa.float32(), 10)),
            ("score", pa.float32()),
            ("sharpness", pa.float32()),
            ("beside", pa.float32()),
        ],
        metadata={METADATA_KEY: json.dumps({"id": job.id, "number": number, "job": json.loads(job.to_json())})},
    )


def _column(pa: Any, field: Any, values: list[Any]) -> Any:
    """One column; vectors go through one flat array, for lists of Python's numbers would take longer than the face."""
    if not pa.types.is_fixed_size_list(field.type):
        return pa.array(values, field.type)
    size = field.type.list_size
    there = np.array([value is not None for value in values])
    flat = np.zeros((len(values), size), np.float32)
    if there.any():
        flat[there] = np.stack([np.ravel(value) for value in values if value is not None])
    return pa.FixedSizeListArray.from_arrays(pa.array(flat.ravel()), size, mask=pa.array(~there))


def _rows(batch: Any) -> Iterator[Row]:
    """Rows of a record batch; vectors as float32, landmarks as (5, 2)."""
    columns = {name: _values(batch.column(name)) for name in batch.schema.names}
    for at in range(batch.num_rows):
        row = {name: values[at] for name, values in columns.items()}
        if row.get("landmarks") is not None:
            row["landmarks"] = row["landmarks"].reshape(5, 2)
        yield Row(**row)


def _values(column: Any) -> list[Any]:
    if not hasattr(column.type, "list_size"):
        return list(column.to_pylist())
    flat = column.flatten().to_numpy(zero_copy_only=False).reshape(-1, column.type.list_size)  # without the nulls
    vectors = iter(flat)
    return [next(vectors) if valid else None for valid in column.is_valid().to_pylist()]


def _refused_of(folder: Path, job: Job, number: int) -> int:
    with _opened(folder, number) as file:
        rows, metadata = file.metadata, json.loads(file.schema_arrow.metadata[METADATA_KEY.encode()])
        if (metadata["id"], metadata["number"], rows.num_rows) != (job.id, number, job.rows(number)):
            raise EdgefrError(
                f"a shard of the job in {folder} in {shard_path(folder, number)}",
                "another's",
                "remove it, then give the `edgefr embed` command again, which makes it",
            )
        column = file.schema_arrow.get_field_index("refused")
        groups = (rows.row_group(group) for group in range(rows.num_row_groups))
        return sum(group.num_rows - group.column(column).statistics.null_count for group in groups)


@contextmanager
def _opened(folder: Path, number: int) -> Iterator[Any]:
    """A shard's file; what its bytes make Arrow raise says that it is damaged."""
    pa, parquet = require_extra("pyarrow", "bulk"), require_extra("pyarrow.parquet", "bulk")
    path = shard_path(folder, number)
    try:
        with parquet.ParquetFile(path) as file:
            yield file
    except (OSError, pa.ArrowException, KeyError, ValueError, TypeError, AttributeError) as error:
        raise EdgefrError(
            f"a whole shard in {path}",
            f"a damaged file ({type(error).__name__})",
            "remove it, then give the `edgefr embed` command again, which makes it",
        ) from error
