"""OpenCV without messages of its own on stderr, and with one thread where others share the cores."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from threading import Lock

import cv2


class _ProcessSetting:
    """A setting of the whole process that threads change for a while. The first to change it finds its value, and the
    last to end restores that."""

    def __init__(self, change: Callable[[], int], restore: Callable[[int], object]) -> None:
        self._change, self._restore = change, restore
        self._lock = Lock()
        self._found: list[int] = []

    @contextmanager
    def changed(self) -> Iterator[None]:
        with self._lock:
            self._found.append(self._change())
        try:
            yield
        finally:
            with self._lock:
                found = self._found.pop()  # of the last holder it is the value that the first one found
                if not self._found:
                    self._restore(found)


def _silence() -> int:
    return int(cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT))


def _use_one_thread() -> int:
    before = int(cv2.getNumThreads())
    cv2.setNumThreads(1)
    return before


_log_level = _ProcessSetting(_silence, cv2.utils.logging.setLogLevel)
_threads = _ProcessSetting(_use_one_thread, cv2.setNumThreads)


def silence_opencv() -> AbstractContextManager[None]:
    """Silence OpenCV's log for a block. Callers report failures by an EdgefrError."""
    return _log_level.changed()


def one_thread_of_opencv() -> AbstractContextManager[None]:
    """Let each function of OpenCV use one thread for a block: several threads that call them and want all cores each
    wait for each other."""
    return _threads.changed()
