"""OpenCV without messages of its own on stderr."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

import cv2

_lock = Lock()
_silencers: list[int] = []
"""The level of the log that each of the threads has found which silence OpenCV now; the first one's comes first."""


@contextmanager
def silence_opencv() -> Iterator[None]:
    """Silence OpenCV's log for a block. Callers report failures by an EdgefrError."""
    with _lock:
        _silencers.append(cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT))
    try:
        yield
    finally:
        with _lock:
            level = _silencers.pop()
            if not _silencers:  # the level belongs to the process, and is back when no thread silences it any more
                cv2.utils.logging.setLogLevel(level)
