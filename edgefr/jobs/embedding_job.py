"""A whole bulk job: what is there stays, what is missing is made, and in the end every photograph is in a row."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path

from edgefr.errors import EdgefrError
from edgefr.io.run_lock import run_lock
from edgefr.jobs.embedding_shards import whole_shards
from edgefr.jobs.job_description import LOCK, Job, begin
from edgefr.jobs.photograph_list import Paths
from edgefr.jobs.process_workers import run_processes
from edgefr.jobs.ray_workers import run_cluster
from edgefr.jobs.shard_worker import Settings

Progress = Callable[[str, int], AbstractContextManager[Callable[[int], None]]]


class StoppedError(EdgefrError):
    """The user stopped a job."""

    exit_code = 130


@dataclass(frozen=True)
class Means:
    """Who makes the shards: so many `workers` on the Ray cluster at `ray`, or processes here; None takes all of the
    cluster, or one process."""

    workers: int | None = None
    ray: str | None = None

    def run(
        self, settings: Settings, numbers: Sequence[int], advance: Callable[[int], None], tell: Callable[[str], None]
    ) -> None:
        """Make the shards of these numbers; a worker beside others keeps one thread busy.

        Raises:
            EdgefrError: what the workers raise.
        """
        if self.ray is not None:
            run_cluster(replace(settings, threads=1), numbers, self.ray, self.workers, advance, tell)
        else:
            threads = None if self.workers in (None, 1) else 1
            run_processes(replace(settings, threads=threads), numbers, self.workers or 1, advance, tell)


@dataclass(frozen=True)
class Done:
    """A job that is done: its photographs, how many of them were refused, and how many this run found done."""

    photographs: int
    refused: int
    before: int


def embed_job(
    job: Job, paths: Paths, settings: Settings, means: Means, progress: Progress, tell: Callable[[str], None]
) -> Done:
    """Make all shards that are missing; `tell` is told in sentences of what somebody should know.

    Raises:
        EdgefrError: another job has the folder, or what its workers raise.
        StoppedError: the user stopped it.
    """
    folder = settings.folder
    with run_lock(folder / LOCK):
        begin(folder, job, paths)
        _sweep(folder)
        there = whole_shards(folder, job)
        missing = [number for number in range(job.shards) if number not in there]
        before = _rows(job, there)
        if before and missing:
            tell(f"{before:,} of {job.photographs:,} photographs were embedded before")
        try:
            with progress("Embedding", job.photographs - before) as advance:
                if missing:
                    means.run(settings, missing, advance, tell)
        except KeyboardInterrupt as error:
            rows = _rows(job, whole_shards(folder, job))
            raise StoppedError(
                "to go on to the end",
                f"Ctrl-C after {rows:,} of {job.photographs:,} photographs",
                "give the same command again, which goes on from there",
            ) from error
        finally:
            _sweep(folder)
        made = whole_shards(folder, job)
    if len(made) < job.shards:
        raise EdgefrError(
            f"{job.shards:,} shards in {folder}",
            f"{len(made):,} when all were made",
            "put it on a file system that all workers share, then give the same command again",
        )
    return Done(job.photographs, sum(made.values()), before)


def _sweep(folder: Path) -> None:
    """Remove what was being written by workers that were killed."""
    for left in folder.glob(".part-*"):
        left.unlink(missing_ok=True)


def _rows(job: Job, numbers: Sequence[int] | dict[int, int]) -> int:
    return sum(job.rows(number) for number in numbers)
