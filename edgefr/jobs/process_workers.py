"""Workers as processes of this machine: each makes a shard at a time; one that dies is replaced, once for a shard."""

from __future__ import annotations

import multiprocessing
import signal
from collections import Counter, deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

from edgefr.errors import EdgefrError, InternalError
from edgefr.jobs.shard_worker import Made, Settings, Worker

ATTEMPTS = 2
"""Workers that may die at a shard before the job ends."""


@dataclass
class _Busy:
    """A worker's process, the shard it makes, and how many of that shard's photographs are done."""

    process: BaseProcess
    number: int
    done: int = 0


def run_processes(
    settings: Settings,
    numbers: Sequence[int],
    workers: int,
    advance: Callable[[int], None],
    tell: Callable[[str], None],
) -> None:
    """Make the shards of these numbers; `advance` is told of photographs, `tell` of workers that died.

    Raises:
        EdgefrError: two workers died at a shard, or what `Worker` raises.
    """
    waiting, deaths = deque(numbers), Counter[int]()
    crew: dict[Connection, _Busy] = {}

    def hire() -> None:
        number = waiting.popleft()
        connection, process = _start(settings)
        crew[connection] = _Busy(process, number)
        with suppress(ConnectionError):  # of one that died at once, whose end is heard of as any other's
            connection.send(number)

    def bury(connection: Connection) -> None:
        worker = crew.pop(connection)
        worker.process.join()
        connection.close()
        advance(-worker.done)
        deaths[worker.number] += 1
        how = _death(worker.process.exitcode)
        if deaths[worker.number] == ATTEMPTS:
            raise EdgefrError(
                f"shard {worker.number} to be made",
                f"that {ATTEMPTS} workers died at it ({how})",
                "give the same command with fewer --workers if memory was short; whole shards stay",
            )
        tell(f"a worker died at shard {worker.number} ({how}); another makes that shard again")
        waiting.appendleft(worker.number)

    def hear(connection: Connection) -> None:
        told, worker = connection.recv(), crew[connection]
        if isinstance(told, EdgefrError):
            raise told
        if not isinstance(told, Made):
            advance(told)
            worker.done += told
        elif waiting:
            worker.number, worker.done = waiting.popleft(), 0
            connection.send(worker.number)
        else:
            _dismiss(connection, crew.pop(connection))

    try:
        while crew or waiting:
            while waiting and len(crew) < workers:
                hire()
            for connection in wait(list(crew)):
                assert isinstance(connection, Connection)
                try:
                    hear(connection)
                except (EOFError, ConnectionError):
                    bury(connection)
    finally:
        for connection, worker in crew.items():
            worker.process.kill()  # a shard is whole or absent, however its maker ends
            _dismiss(connection, worker)


def _start(settings: Settings) -> tuple[Connection, BaseProcess]:
    context = multiprocessing.get_context("spawn")  # a fork would have the parent's locks and threads half
    ours, theirs = context.Pipe()
    process = context.Process(target=_work, args=(settings, theirs), daemon=True)
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # which a child inherits: Ctrl-C is for the parent to answer
    try:
        process.start()
    finally:
        signal.signal(signal.SIGINT, before)
    theirs.close()  # so that the end of the process is the end of the pipe
    return ours, process


def _dismiss(connection: Connection, worker: _Busy) -> None:
    connection.close()
    worker.process.join()


def _work(settings: Settings, connection: Connection) -> None:
    """What a worker's process does until its parent closes the pipe, or dies."""
    with suppress(EOFError, ConnectionError):
        try:
            worker = Worker(settings)
            while True:
                connection.send(worker.make(connection.recv(), connection.send))
        except EdgefrError as error:
            connection.send(error)
        except (EOFError, ConnectionError):
            raise
        except Exception as error:
            connection.send(InternalError.of(error))


def _death(code: int | None) -> str:
    if code is not None and code < 0:
        return f"killed by signal {-code}, {signal.Signals(-code).name}"
    return f"exit code {code}"
