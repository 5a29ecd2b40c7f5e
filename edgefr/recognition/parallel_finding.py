"""Finds the faces of many photographs in threads: decoding and detection of one overlap with those of others."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from typing import TypeVar

from edgefr.errors import ImageError
from edgefr.io.opencv import one_thread_of_opencv
from edgefr.recognition.verifier import Verifier
from edgefr.runtimes.processor import processor

MOST_THREADS = 4
"""Each thread holds a whole photograph, and a detector with the pictures between its layers."""

WORTHWHILE = 8
"""Photographs for each thread from which another detector is opened, which takes as long as some photographs."""

AHEAD = 64
"""Photographs whose faces may wait until they are embedded. Only their aligned faces are kept, 38 kB each."""

Found = TypeVar("Found")


def find_in_order(
    verifier: Verifier, photographs: Iterable[Path], count: int, find: Callable[[Verifier, Path], Found]
) -> Generator[Found | ImageError, None, None]:
    """Find the faces of photographs, several at a time. Close the generator if you do not exhaust it.

    Args:
        verifier: Copies of its detector are used, one for each thread. Its own finds the faces of one photograph after
            the other if they are few, or if it cannot be opened again.
        photographs: Paths of the pictures.
        count: Number of the photographs.
        find: Reads a photograph and finds its faces by the detector of the given verifier, whose recogniser it must not
            use.

    Yields:
        What `find` returns for each photograph, in their order, or the error for one that cannot be used.

    Raises:
        EdgefrError: The runtime of the detector fails, or the detector cannot be opened again because its file is gone.
    """
    finders = _finders(verifier, count)
    idle: SimpleQueue[Verifier] = SimpleQueue()
    for finder in finders:
        idle.put(finder)

    def find_by_idle(path: Path) -> Found | ImageError:
        finder = idle.get()
        try:
            return find(finder, path)
        except ImageError as error:
            return error
        finally:
            idle.put(finder)

    if len(finders) == 1:
        yield from map(find_by_idle, photographs)
        return
    executor = ThreadPoolExecutor(len(finders), "edgefr-finder")
    waiting: deque[Future[Found | ImageError]] = deque()
    try:
        with one_thread_of_opencv():
            for path in photographs:
                waiting.append(executor.submit(find_by_idle, path))
                if len(waiting) > AHEAD:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
    finally:
        executor.shutdown(cancel_futures=True)


def _finders(verifier: Verifier, count: int) -> list[Verifier]:
    """Verifiers with detectors of their own, as many as are worthwhile; at least the given one."""
    most = min(MOST_THREADS, verifier.threads or processor().cores, count // WORTHWHILE)
    if most < 2:
        return [verifier]
    copies = [verifier.with_other_detector(threads=1) for _ in range(most)]
    return [copy for copy in copies if copy is not None] or [verifier]
