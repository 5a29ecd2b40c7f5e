"""Shards return what was written, and those of other jobs are refused."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

from edgefr.errors import EdgefrError
from edgefr.gallery.model_binding import ModelBinding
from edgefr.jobs.embedding_shards import Row, count_rejected, read_rejected, read_rows, shard_path, write_shard
from edgefr.jobs.job_description import FILE, Job, begin_or_resume, read_job
from edgefr.jobs.photograph_list import list_paths

BINDING = ModelBinding("m.onnx", "0" * 64, "spot", "as ever", "fp32", 8)


def row(number: int) -> Row:
    if number % 3 == 1:
        return Row(f"/{number}.jpg", "expected a face, found none: look up")
    rng = np.random.default_rng(number)
    vectors = [rng.standard_normal(shape).astype(np.float32) for shape in (8, 4, (5, 2))]
    uncertainty = None if number % 2 else -1.5
    return Row(f"/{number}.jpg", None, vectors[0], 2.5, uncertainty, vectors[1], vectors[2], 0.75, 2.0, 0.0)


def job_of(folder: Path, count: int = 7, shard: int = 3) -> Job:
    (folder / "names").write_text("\n".join(f"/{number}.jpg" for number in range(count)))
    paths = list_paths([], folder / "names")
    job = Job.of(paths, shard, "largest", BINDING)
    begin_or_resume(folder / "job", job, paths)
    return job


def whole(folder: Path) -> tuple[Path, Job]:
    job, folder = job_of(folder), folder / "job"
    for number in range(job.shards):
        write_shard(folder, job, number, [row(number * 3 + at) for at in range(job.rows(number))])
    return folder, job


def test_rows_are_read_as_they_were_written(tmp_path: Path) -> None:
    folder, job = whole(tmp_path)
    assert {path.stat().st_mode & 0o777 for path in (folder, *folder.iterdir())} == {0o700, 0o600}
    read = list(read_rows(folder, job))
    for found, wanted in zip(read, map(row, range(7)), strict=True):
        for field in fields(Row):
            np.testing.assert_array_equal(getattr(found, field.name), getattr(wanted, field.name))
    assert count_rejected(folder, job) == {0: 1, 1: 1, 2: 0}
    assert [entry.path for entry in read_rejected(folder, job)] == ["/1.jpg", "/4.jpg"]


def test_other_tools_read_the_columns(tmp_path: Path) -> None:
    from pyarrow import dataset

    folder, _ = whole(tmp_path)
    table = dataset.dataset(sorted(map(str, folder.glob("part-*.parquet")))).to_table()
    assert table.num_rows == 7
    assert str(table.schema.field("embedding").type).startswith("fixed_size_list<element: float>[8]")
    assert table.column("refused").null_count == 5


def test_missing_and_damaged_shards_and_those_of_other_jobs_are_refused(tmp_path: Path) -> None:
    folder, job = whole(tmp_path)
    path = shard_path(folder, 1)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(EdgefrError, match=r"part-00001.parquet, found a damaged file.*again, which makes it again"):
        count_rejected(folder, job)
    with pytest.raises(EdgefrError, match="one of another job"):
        count_rejected(folder, replace(job, face="only"))
    path.unlink()
    assert list(count_rejected(folder, job)) == [0, 2]
    with pytest.raises(EdgefrError, match=r"found no part 00001\. Resume the job"):
        next(read_rows(folder, job))  # before anything of part 00000 is done


def test_a_folder_rejects_every_other_job(tmp_path: Path) -> None:
    folder, job = whole(tmp_path)
    paths = list_paths([], tmp_path / "names")
    begin_or_resume(folder, job, paths)
    others = (
        (replace(job, photographs=8), "number of photographs"),
        (replace(job, list_sha256="0"), "list of photographs"),
        (replace(job, shard=4), "--shard"),
        (replace(job, face="only"), "--face"),
        (replace(job, binding=replace(BINDING, model_sha256="1")), "model sha256"),
        (replace(job, binding=replace(BINDING, detector="yunet")), "detector"),
        (replace(job, binding=replace(BINDING, precision="bf16")), "precision"),
    )
    for other, match in others:
        with pytest.raises(EdgefrError, match=f"the {match} of the job in .*new job in another folder"):
            begin_or_resume(folder, other, paths)
    (folder / FILE).write_text("{}")
    with pytest.raises(EdgefrError, match="found something else"):
        read_job(folder)
    (folder / FILE).unlink()
    with pytest.raises(EdgefrError, match=r"expected job\.json with the shards"):
        begin_or_resume(folder, job, paths)
    with pytest.raises(EdgefrError, match=r"found no job\.json"):
        read_job(folder)
