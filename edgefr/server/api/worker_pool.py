"""One pool of threads for all work on pictures, with a bounded queue."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from queue import SimpleQueue
from time import monotonic
from typing import TypeVar

from edgefr.io.opencv import one_thread_of_opencv
from edgefr.recognition.verifier import Verifier
from edgefr.runtimes.processor import processor
from edgefr.server.api.problems import ProblemError

T = TypeVar("T")

WAITING_OF_WORKER = 8
"""Requests that may wait for each worker. A photograph takes some tenths of a second, so all are served in seconds."""
STUCK_S = 120.0
"""Seconds after which a job counts as stuck: no photograph within the limits takes so long."""


class WorkerPool:
    """Runs jobs in threads, each with a detector of its own. All but the jobs runs in the thread of the event loop.

    A request is admitted before its body is read, so the queue bounds the memory of bodies and pictures, too.
    """

    def __init__(self, verifier: Verifier, workers: int | None = None, waiting: int | None = None) -> None:
        """Open the detectors and start the threads.

        Args:
            verifier: Its detector is opened again for each worker; if that is not possible there is one worker.
            workers: Number of workers; None for one on each core.
            waiting: Number of requests that may wait; None for some for each worker.

        Raises:
            EdgefrError: The file of the detector is gone.
        """
        copies = [verifier.with_other_detector(threads=1) for _ in range(workers or processor().cores)]
        verifiers: Sequence[Verifier] = [copy for copy in copies if copy is not None] or [verifier]
        self.workers = len(verifiers)
        self._idle: SimpleQueue[Verifier] = SimpleQueue()
        for one in verifiers:
            self._idle.put(one)
        self._places = self.workers + (self.workers * WAITING_OF_WORKER if waiting is None else waiting)
        self.admitted = 0
        """Requests that have a place now."""
        self._started: dict[object, float] = {}
        """When the jobs that run now were started."""
        self._open = ExitStack()
        self._open.enter_context(one_thread_of_opencv())
        self._executor = ThreadPoolExecutor(self.workers, "edgefr-worker")

    @property
    def busy(self) -> int:
        """Number of jobs that run now."""
        return len(self._started)

    @property
    def is_stuck(self) -> bool:
        """Whether a job has been running for much longer than any may take."""
        return any(monotonic() - since > STUCK_S for since in list(self._started.values()))

    @contextmanager
    def place(self) -> Iterator[None]:
        """Hold a place for a request; raises ProblemError if there is none."""
        if self.admitted >= self._places:
            raise ProblemError("busy", "All workers are busy, and the queue is full. Try again in a moment.")
        self.admitted += 1
        try:
            yield
        finally:
            self.admitted -= 1

    async def run(self, job: Callable[[Verifier], T]) -> T:
        """Run a job in a worker, and wait for its result."""
        return await asyncio.get_running_loop().run_in_executor(self._executor, self._run, job)

    def close(self) -> None:
        """Wait for the jobs that run, and end the threads."""
        self._executor.shutdown(cancel_futures=True)
        self._open.close()

    def _run(self, job: Callable[[Verifier], T]) -> T:
        verifier, key = self._idle.get(), object()
        self._started[key] = monotonic()
        try:
            return job(verifier)
        finally:
            del self._started[key]
            self._idle.put(verifier)
