"""Shards of an embedding job: Parquet files with a row for every photograph, each complete or absent."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgefr.errors import InvalidArgumentError, UnavailableError, require_extra
from edgefr.io.files import atomic_write
from edgefr.jobs.job_description import Job
from edgefr.types import METADATA_KEY, Floats

READ_ROWS = 512
"""Rows that are read at a time."""


@dataclass(frozen=True)
class Row:
    """A photograph. The names of the fields are the columns of the file, see docs/bulk.md.

    Attributes:
        path: The photograph.
        refused: Why it has no usable face; then all other fields are None.
        embedding: (K,) float32 of unit length.
        norm: Length of the embedding before it was normalised.
        uncertainty: That of the model's output (`recogniser.Embeddings`), or None if the model gives none.
        box: x, y, width, height in pixels.
        landmarks: (5, 2) float32 in pixels.
        score: Score of the detector.
        sharpness: Sharpness of the aligned face.
        beside: Width of the widest other face, as a share of this one; 0 if there is none.
        central: Whether the face is central, see `enrolment_checks.is_central`; None in shards of older versions.
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
    central: bool | None = None


def shard_path(folder: Path, number: int) -> Path:
    """The file of a shard."""
    return folder / f"part-{number:05d}.parquet"


def write_shard(folder: Path, job: Job, number: int, rows: Sequence[Row]) -> None:
    """Write a shard. Its metadata identify the job."""
    pa, parquet = require_extra("pyarrow", "bulk"), require_extra("pyarrow.parquet", "bulk")
    schema = _schema(pa, job, number)
    columns = [_to_column(pa, field, [getattr(row, field.name) for row in rows]) for field in schema]
    table = pa.Table.from_arrays(columns, schema=schema)
    with atomic_write(shard_path(folder, number), private=True) as temporary:
        parquet.write_table(table, temporary, compression="zstd", use_dictionary=["refused"])


def count_rejected(folder: Path, job: Job) -> dict[int, int]:
    """Number of each shard that exists -> number of its photographs without a usable face.

    Raises:
        InvalidArgumentError: A shard belongs to another job.
        UnavailableError: A shard is damaged.
    """
    numbers = [number for number in range(job.shards) if shard_path(folder, number).is_file()]
    return {number: _count_rejected(folder, job, number) for number in numbers}


def check_complete(folder: Path, job: Job) -> None:
    """Check that all shards exist. Raises UnavailableError if one is missing, and like `count_rejected`."""
    present = count_rejected(folder, job)
    for number in range(job.shards):
        if number not in present:
            raise UnavailableError(
                f"all {job.shards:,} shards of the job in {folder}",
                f"no part {number:05d}",
                "resume the job: run its `edgefr embed` command again",
            )


def read_rows(folder: Path, job: Job, columns: Sequence[str] | None = None) -> Iterator[Row]:
    """Read all rows in the order of the photographs; `columns` limits the columns, and must contain `path`.

    Raises:
        InvalidArgumentError: A shard belongs to another job.
        UnavailableError: A shard is missing (raised before the first row) or damaged.
    """
    check_complete(folder, job)
    for number in range(job.shards):
        with _open_shard(folder, number) as file:
            for batch in file.iter_batches(READ_ROWS, columns=columns):
                yield from _to_rows(batch)


def read_rejected(folder: Path, job: Job) -> Iterator[Row]:
    """Path and reason of all photographs without a usable face. Raises like `read_rows`."""
    return (row for row in read_rows(folder, job, ["path", "refused"]) if row.refused is not None)


def _schema(pa: Any, job: Job, number: int) -> Any:
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
            ("central", pa.bool_()),
        ],
        metadata={METADATA_KEY: json.dumps({"id": job.id, "number": number, "job": json.loads(job.to_json())})},
    )


def _to_column(pa: Any, field: Any, values: list[Any]) -> Any:
    """Vectors pass through one flat array, because lists of Python floats would take longer than the embedding."""
    if not pa.types.is_fixed_size_list(field.type):
        return pa.array(values, field.type)
    size = field.type.list_size
    present = np.array([value is not None for value in values])
    flat = np.zeros((len(values), size), np.float32)
    if present.any():
        flat[present] = np.stack([np.ravel(value) for value in values if value is not None])
    return pa.FixedSizeListArray.from_arrays(pa.array(flat.ravel()), size, mask=pa.array(~present))


def _to_rows(batch: Any) -> Iterator[Row]:
    columns = {name: _to_values(batch.column(name)) for name in batch.schema.names}
    for at in range(batch.num_rows):
        row = {name: values[at] for name, values in columns.items()}
        if row.get("landmarks") is not None:
            row["landmarks"] = row["landmarks"].reshape(5, 2)
        yield Row(**row)


def _to_values(column: Any) -> list[Any]:
    if not hasattr(column.type, "list_size"):
        return list(column.to_pylist())
    flat = column.flatten().to_numpy(zero_copy_only=False).reshape(-1, column.type.list_size)  # without the nulls
    vectors = iter(flat)
    return [next(vectors) if valid else None for valid in column.is_valid().to_pylist()]


def _count_rejected(folder: Path, job: Job, number: int) -> int:
    with _open_shard(folder, number) as file:
        rows, metadata = file.metadata, json.loads(file.schema_arrow.metadata[METADATA_KEY.encode()])
        if (metadata["id"], metadata["number"], rows.num_rows) != (job.id, number, job.rows(number)):
            raise InvalidArgumentError(
                f"a shard of the job in {folder} in {shard_path(folder, number)}",
                "one of another job",
                "remove it, then run the `edgefr embed` command again, which makes it again",
            )
        column = file.schema_arrow.get_field_index("refused")
        groups = (rows.row_group(group) for group in range(rows.num_row_groups))
        return sum(group.num_rows - group.column(column).statistics.null_count for group in groups)


@contextmanager
def _open_shard(folder: Path, number: int) -> Iterator[Any]:
    """Open a shard. Whatever Arrow raises within the block means that the file is damaged."""
    pa, parquet = require_extra("pyarrow", "bulk"), require_extra("pyarrow.parquet", "bulk")
    path = shard_path(folder, number)
    try:
        with parquet.ParquetFile(path) as file:
            yield file
    except (OSError, pa.ArrowException, KeyError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise UnavailableError(
            f"a complete shard in {path}",
            f"a damaged file ({type(error).__name__})",
            "remove it, then run the `edgefr embed` command again, which makes it again",
        ) from error
