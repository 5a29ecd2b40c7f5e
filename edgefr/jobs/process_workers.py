"""Worker processes on this machine. A worker that dies is replaced, and its shard is retried once."""

from __future__ import annotations

import multiprocessing
import signal
from collections import Counter, deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

from edgefr.errors import EdgefrError, InternalError, UnavailableError
from edgefr.jobs.shard_worker import Settings, ShardResult, Worker

MAX_ATTEMPTS = 2
"""Workers that may die at one shard before the job fails."""


@dataclass
class _BusyWorker:
    """A process, the number of its shard, and how many photographs of it are done."""

    process: BaseProcess
    shard: int
    done: int = 0


class _Pool:
    """Distributes shards among processes."""

    def __init__(
        self,
        settings: Settings,
        numbers: Sequence[int],
        on_progress: Callable[[int], None],
        on_warning: Callable[[str], None],
    ) -> None:
        self._settings = settings
        self._pending, self._deaths = deque(numbers), Counter[int]()
        self._on_progress, self._on_warning = on_progress, on_warning
        self._workers: dict[Connection, _BusyWorker] = {}

    def run(self, count: int) -> None:
        try:
            while self._workers or self._pending:
                while self._pending and len(self._workers) < count:
                    self._start_worker()
                for connection in wait(list(self._workers)):
                    assert isinstance(connection, Connection)
                    try:
                        self._receive(connection)
                    except (EOFError, ConnectionError):
                        self._retry(connection)
        finally:
            for connection, worker in self._workers.items():
                worker.process.kill()  # safe: a shard is written completely or not at all
                _join(connection, worker)

    def _start_worker(self) -> None:
        number = self._pending.popleft()
        connection, process = _start_process(self._settings)
        self._workers[connection] = _BusyWorker(process, number)
        with suppress(ConnectionError):  # if it died at once, `wait` reports the end of its pipe
            connection.send(number)

    def _receive(self, connection: Connection) -> None:
        message, worker = connection.recv(), self._workers[connection]
        if isinstance(message, EdgefrError):
            raise message
        if not isinstance(message, ShardResult):
            self._on_progress(message)
            worker.done += message
        elif self._pending:
            worker.shard, worker.done = self._pending.popleft(), 0
            connection.send(worker.shard)
        else:
            _join(connection, self._workers.pop(connection))

    def _retry(self, connection: Connection) -> None:
        """Queue the shard of a dead worker again."""
        worker = self._workers.pop(connection)
        _join(connection, worker)
        self._on_progress(-worker.done)
        self._deaths[worker.shard] += 1
        cause = _exit_cause(worker.process.exitcode)
        if self._deaths[worker.shard] == MAX_ATTEMPTS:
            raise UnavailableError(
                "",
                f"{MAX_ATTEMPTS} workers died at shard {worker.shard} ({cause})",
                "run the same command with fewer --workers if memory was short; complete shards are kept",
            )
        self._on_warning(f"a worker died at shard {worker.shard} ({cause}); another one retries it")
        self._pending.appendleft(worker.shard)


def run_processes(
    settings: Settings,
    numbers: Sequence[int],
    workers: int,
    on_progress: Callable[[int], None],
    on_warning: Callable[[str], None],
) -> None:
    """Make shards with worker processes.

    Args:
        settings: What the workers need.
        numbers: The shards to make.
        workers: Number of processes.
        on_progress: Called with a number of photographs; negative if they must be done again.
        on_warning: Receives a sentence about each worker that died.

    Raises:
        UnavailableError: Two workers died at the same shard.
        EdgefrError: A worker failed, see `Worker`.
    """
    _Pool(settings, numbers, on_progress, on_warning).run(workers)


def _start_process(settings: Settings) -> tuple[Connection, BaseProcess]:
    context = multiprocessing.get_context("spawn")  # a fork would inherit locks of threads that do not exist in it
    connection, other_end = context.Pipe()
    process = context.Process(target=_run_worker, args=(settings, other_end), daemon=True)
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)  # inherited: only the parent handles Ctrl-C
    try:
        process.start()
    finally:
        signal.signal(signal.SIGINT, handler)
    other_end.close()  # so that the pipe ends with the process
    return connection, process


def _join(connection: Connection, worker: _BusyWorker) -> None:
    connection.close()
    worker.process.join()


def _run_worker(settings: Settings, connection: Connection) -> None:
    """Make shards until the parent closes the pipe or dies."""
    with suppress(EOFError, ConnectionError):
        try:
            worker = Worker(settings)
            while True:
                connection.send(worker.make(connection.recv(), connection.send))
        except EdgefrError as error:  # the parent raises it
            connection.send(error)
        except (EOFError, ConnectionError):
            raise
        except Exception as error:
            connection.send(InternalError.of(error))


def _exit_cause(code: int | None) -> str:
    if code is not None and code < 0:
        return f"killed by signal {-code}, {signal.Signals(-code).name}"
    return f"exit code {code}"
