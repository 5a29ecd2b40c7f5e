"""Write events as lines of JSON, to standard output and to files."""

from __future__ import annotations

import errno
import json
import os
import stat
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import TextIO

from edgefr.camera.session import Document, Listener
from edgefr.errors import UnavailableError
from edgefr.io.private_files import open_private

MAX_WAITING = 10_000
"""Number of events that wait in memory, at most, while a file cannot be written; the oldest ones are dropped."""
FULL_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EIO)


class JsonLinesSink(Listener):
    """Writes one line of JSON per event to a stream, without buffering."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def send(self, document: Document) -> None:
        print(json.dumps(document, ensure_ascii=False), file=self._stream, flush=True)


class JsonLinesFile(Listener):
    """Appends to a file that only its owner can read, because the events hold names.

    The file never ends in half a line. Events that cannot be written, as on a full disk, wait and are written with the
    next event for which there is space.
    """

    def __init__(self, path: Path, warn: Callable[[str], None]) -> None:
        """Open or create the file.

        Args:
            path: The file, which may be a pipe or a device.
            warn: Called with a sentence when writing begins to fail, and when it works again.

        Raises:
            UnavailableError: The file cannot be opened, for another reason than a full disk.
        """
        self._path, self._warn = path, warn
        self._waiting: deque[bytes] = deque()
        self._lost = 0
        self._failing = False
        self._descriptor: int | None = None
        try:
            self._open()
        except OSError as error:
            if error.errno not in FULL_DISK:
                fix = "choose another file"
                raise UnavailableError(f"to write events to {path}", str(error.strerror), fix) from error
            self._report(error)

    def send(self, document: Document) -> None:
        if len(self._waiting) >= MAX_WAITING:
            self._waiting.popleft()
            self._lost += 1
        self._waiting.append(json.dumps(document, ensure_ascii=False).encode() + b"\n")
        self._write()

    def close(self) -> None:
        self._write()
        if lost := self._lost + len(self._waiting):
            self._warn(f"{lost:,} events are lost, because they could not be written to {self._path}")
        if self._descriptor is not None:
            os.close(self._descriptor)

    def _open(self) -> int:
        if self._descriptor is None:
            descriptor = open_private(self._path, os.O_RDWR | os.O_APPEND)
            self._is_regular = stat.S_ISREG(os.fstat(descriptor).st_mode)
            self._descriptor = descriptor
            size = os.fstat(descriptor).st_size
            if self._is_regular and size and os.pread(descriptor, 1, size - 1) != b"\n":
                self._waiting.appendleft(b"\n")  # the process or the machine was stopped within a line
        return self._descriptor

    def _write(self) -> None:
        """Write what waits, oldest first, as far as that is possible."""
        try:
            descriptor = self._open()
            while self._waiting:
                self._append(descriptor, self._waiting[0])
                self._waiting.popleft()
        except OSError as error:
            self._report(error)
        else:
            if self._failing:
                lost = f"; {self._lost:,} are lost" if self._lost else ""
                self._warn(f"events are written to {self._path} again{lost}")
                self._failing, self._lost = False, 0

    def _append(self, descriptor: int, line: bytes) -> None:
        """Append a line, or nothing if that fails."""
        before = os.fstat(descriptor).st_size
        rest = memoryview(line)
        try:
            while rest:
                rest = rest[os.write(descriptor, rest) :]
        except OSError:
            if self._is_regular and len(rest) < len(line):
                os.ftruncate(descriptor, before)
            raise

    def _report(self, error: OSError) -> None:
        if not self._failing:
            self._warn(
                f"events cannot be written to {self._path} ({error.strerror}); up to {MAX_WAITING:,} wait in memory"
            )
        self._failing = True
