"""OpenCV without messages of its own on stderr."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import cv2


@contextmanager
def silence_opencv() -> Iterator[None]:
    """Silence OpenCV's log for a block. Callers report failures by an EdgefrError."""
    before = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        yield
    finally:
        cv2.utils.logging.setLogLevel(before)
