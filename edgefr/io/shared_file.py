"""A file that every thread and process may read at once."""

from __future__ import annotations

import os
import weakref
from pathlib import Path


class SharedFile:
    """Reads carry their own offset (pread), so that nobody can move a position that another relies on.

    A forked worker goes on with the same descriptor; one that is spawned opens the path again.

    Raises:
        OSError: the file cannot be opened or read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor = os.open(path, os.O_RDONLY)
        weakref.finalize(self, os.close, self._descriptor)
        self.size = os.fstat(self._descriptor).st_size

    def __reduce__(self) -> tuple[type[SharedFile], tuple[Path]]:
        return SharedFile, (self.path,)

    def read(self, offset: int, count: int) -> bytes:
        """`count` bytes from `offset` on; fewer where the file ends."""
        return os.pread(self._descriptor, count, offset)
