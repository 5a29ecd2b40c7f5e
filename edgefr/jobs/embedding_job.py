"""Run or resume an embedding job: keep the shards that are complete and make the missing ones."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path

from edgefr.errors import EdgefrError, UnavailableError
from edgefr.io.run_lock import run_lock
from edgefr.jobs.embedding_shards import count_rejected
from edgefr.jobs.job_description import LOCK, Job, begin_or_resume
from edgefr.jobs.photograph_list import Paths
from edgefr.jobs.process_workers import run_processes
from edgefr.jobs.ray_workers import run_cluster
from edgefr.jobs.shard_worker import Settings

Progress = Callable[[str, int], AbstractContextManager[Callable[[int], None]]]
"""Title and total -> context manager that gives a function to advance."""


class InterruptedJobError(EdgefrError):
    """The user interrupted a job."""

    exit_code = 130


@dataclass(frozen=True)
class Workers:
    """The workers of a job.

    Attributes:
        count: Number of workers. None means one process, or all CPUs of the cluster.
        ray: Address of a Ray cluster; None means processes on this machine.
    """

    count: int | None = None
    ray: str | None = None

    def run(
        self,
        settings: Settings,
        numbers: list[int],
        on_progress: Callable[[int], None],
        on_warning: Callable[[str], None],
    ) -> None:
        """Make shards. A worker beside others uses one thread."""
        if self.ray is not None:
            run_cluster(replace(settings, threads=1), numbers, self.ray, self.count, on_progress, on_warning)
        else:
            threads = None if self.count in (None, 1) else 1
            run_processes(replace(settings, threads=threads), numbers, self.count or 1, on_progress, on_warning)


@dataclass(frozen=True)
class JobResult:
    """Numbers of photographs: all, those without a usable face, and those that earlier runs had embedded."""

    photographs: int
    refused: int
    before: int


def run_embedding_job(
    job: Job, paths: Paths, settings: Settings, workers: Workers, progress: Progress, on_warning: Callable[[str], None]
) -> JobResult:
    """Make all shards that are missing.

    Args:
        job: The job.
        paths: Its photographs.
        settings: What its workers need.
        workers: Who makes the shards.
        progress: Shows the progress.
        on_warning: Receives sentences, for example about workers that died.

    Returns:
        Numbers of photographs.

    Raises:
        InterruptedJobError: The user pressed Ctrl-C.
        UnavailableError: Another run has the folder, or its file system is not shared by all workers.
        EdgefrError: A worker fails.
    """
    folder = settings.folder
    with run_lock(folder / LOCK, private=True):
        begin_or_resume(folder, job, paths)
        _remove_partial_files(folder)
        present = count_rejected(folder, job)
        missing = [number for number in range(job.shards) if number not in present]
        before = _count_rows(job, present)
        if before and missing:
            on_warning(f"resuming: {before:,} of {job.photographs:,} photographs are embedded already")
        try:
            with progress("Embedding", job.photographs - before) as advance:
                if missing:
                    workers.run(settings, missing, advance, on_warning)
        except KeyboardInterrupt as error:
            done = _count_rows(job, count_rejected(folder, job))
            raise InterruptedJobError(
                "",
                f"Interrupted after {done:,} of {job.photographs:,} photographs",
                "run the same command again to resume",
            ) from error
        finally:
            _remove_partial_files(folder)
        complete = count_rejected(folder, job)
    if len(complete) < job.shards:
        raise UnavailableError(
            f"{job.shards:,} shards in {folder}",
            f"{len(complete):,} after all were made",
            "use a file system that all workers share, then run the same command again",
        )
    return JobResult(job.photographs, sum(complete.values()), before)


def _remove_partial_files(folder: Path) -> None:
    """Remove what killed workers were writing."""
    for file in folder.glob(".part-*"):
        file.unlink(missing_ok=True)


def _count_rows(job: Job, numbers: Iterable[int]) -> int:
    return sum(job.rows(number) for number in numbers)
