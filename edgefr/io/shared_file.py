"""A file that many threads and processes can read at the same time."""

from __future__ import annotations

import os
import weakref
from pathlib import Path


class SharedFile:
    """A file that is read at given offsets (pread), so that its readers share no position.

    Forked processes inherit the descriptor; spawned ones open the path again.
    """

    def __init__(self, path: Path) -> None:
        """Open a file. Opening and reading raise OSError."""
        self.path = path
        self._descriptor = os.open(path, os.O_RDONLY)
        weakref.finalize(self, os.close, self._descriptor)
        self.size = os.fstat(self._descriptor).st_size

    def __reduce__(self) -> tuple[type[SharedFile], tuple[Path]]:
        return SharedFile, (self.path,)

    def read(self, offset: int, count: int) -> bytes:
        """Read `count` bytes from `offset`, or fewer at the end of the file."""
        return os.pread(self._descriptor, count, offset)
