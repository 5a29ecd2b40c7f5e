"""Keep the newest frame with its faces in a JPEG file."""

from __future__ import annotations

from pathlib import Path
from time import monotonic

from edgefr.camera.overlay import draw_faces, encode_jpeg
from edgefr.camera.session import Listener
from edgefr.camera.watcher import FrameResult
from edgefr.io.files import atomic_write

MIN_INTERVAL_S = 0.5
"""Seconds between two writes, because each one is flushed to the disk."""


class SnapshotFile(Listener):
    """A JPEG file that is replaced as a whole, so that readers never find half a picture."""

    def __init__(self, path: Path) -> None:
        self._path, self._written_at = path, -1.0

    def show(self, result: FrameResult) -> None:
        """Write the frame, unless the last write was a moment ago; raises EdgefrError if that is impossible."""
        if monotonic() - self._written_at < MIN_INTERVAL_S:
            return
        self._written_at = monotonic()
        with atomic_write(self._path, private=True) as temporary:
            temporary.write_bytes(encode_jpeg(draw_faces(result)))
