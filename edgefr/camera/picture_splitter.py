"""Find the JPEG pictures in a stream of bytes.

Their markers end them, not the first bytes that look like an end: thumbnails and comments in the segments of a picture
may hold such bytes, too. The Content-Length of a part counts only if a boundary follows there, because many cameras
send a wrong one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

MAX_JPEG_BYTES = 16 << 20
"""Longest picture; what is longer is left out."""
MAX_HEAD_BYTES = 4096
"""Bytes before a picture in which the header of its part is searched."""

START = b"\xff\xd8\xff"
SOI, EOI, SOS, TEM = 0xD8, 0xD9, 0xDA, 0x01
RESTARTS = range(0xD0, 0xD8)
SCAN_END = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
"""The marker after compressed data, in which a zero follows every other 0xff (ITU-T T.81, B.1.1.5)."""
CONTENT_LENGTH = re.compile(rb"(?i)content-length:[ \t]*(\d{1,9})[ \t]*\r?\n(?:[^\r\n]+\r?\n)*\r?\n\Z")
"""The length of the part that begins after this header."""
BOUNDARY = re.compile(rb"(?:\r?\n)?--")
BOUNDARY_LINE = re.compile(rb"(--[^\r\n]{1,200})\r?\n(?:[^\r\n]+\r?\n)*\r?\n\Z")
MIN_BOUNDARY_BYTES = 4


class DamagedPictureError(Exception):
    """The bytes are no JPEG."""


class PictureSplitter:
    """Takes the pictures out of a stream. Whatever stands between them is left out."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._restart()
        self._rest = 0
        self._boundary = b""
        self._seeks_boundary = False

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """The pictures that are complete with these bytes."""
        self._buffer += chunk
        while self._skip_rest() and self._find_start():
            picture = self._take()
            if picture is not None:
                yield picture
            elif self._is_started:  # the rest of it has not arrived
                return

    def _restart(self) -> None:
        """Expect the start of another picture."""
        self._at, self._in_scan, self._is_started = len(START) - 1, False, False
        self._length: int | None = None

    def _skip_rest(self) -> bool:
        """Leave out what a part has after its picture, such as a preview, and damaged pictures up to a boundary."""
        if self._rest:
            if len(self._buffer) < MIN_BOUNDARY_BYTES:
                return False
            if BOUNDARY.match(self._buffer):
                self._rest = 0  # the length was wrong
            skipped = min(self._rest, len(self._buffer))
            del self._buffer[:skipped]
            self._rest -= skipped
            if self._rest:
                return False
        if self._seeks_boundary:
            found = self._buffer.find(self._boundary)
            if found < 0:
                del self._buffer[: -len(self._boundary)]
                return False
            del self._buffer[:found]
            self._seeks_boundary = False
        return True

    def _find_start(self) -> bool:
        """Drop what precedes a picture; returns whether one begins."""
        if self._is_started:
            return True
        start = self._buffer.find(START)
        if start < 0:
            del self._buffer[:-MAX_HEAD_BYTES]
            return False
        head = bytes(self._buffer[max(start - MAX_HEAD_BYTES, 0) : start])
        if line := BOUNDARY_LINE.search(head):
            self._boundary = line[1]
        stated = CONTENT_LENGTH.search(head)
        if stated and int(stated[1]) <= MAX_JPEG_BYTES:
            self._length = int(stated[1])
        del self._buffer[:start]
        self._is_started = True
        return True

    def _take(self) -> bytes | None:
        """The picture at the start of the buffer, or None if it is not complete or damaged."""
        if self._length is not None and len(self._buffer) >= self._length + MIN_BOUNDARY_BYTES:
            if BOUNDARY.match(self._buffer, self._length):
                return self._cut(self._length)
            self._length = None
        try:
            end = self._walk()
        except DamagedPictureError:
            if self._length is None:  # else the length is still to be confirmed, and the decoder judges
                self._drop_damaged()
            return None
        if end is None and len(self._buffer) > MAX_JPEG_BYTES:
            self._drop_damaged()
        return None if end is None else self._cut(end)

    def _cut(self, end: int) -> bytes:
        picture = bytes(self._buffer[:end])
        del self._buffer[:end]
        self._rest = max((self._length or 0) - end, 0)
        self._restart()
        return picture

    def _drop_damaged(self) -> None:
        """Go on after a damaged picture. Its thumbnail is not taken for a picture if there are boundaries."""
        self._restart()
        del self._buffer[: len(START) - 1]
        self._seeks_boundary = bool(self._boundary)

    def _walk(self) -> int | None:
        """Follow the segments from where the last call ended; returns the end of the picture, None if it is not there.

        Raises:
            DamagedPictureError: Something else than a segment follows.
        """
        buffer = self._buffer
        while True:
            if self._in_scan:
                found = SCAN_END.search(buffer, self._at)
                if found is None:
                    self._at = max(self._at, len(buffer) - 1)
                    return None
                self._at, self._in_scan = found.start(), False
            if len(buffer) < self._at + 4:
                return self._at + 2 if buffer[self._at : self._at + 2] == bytes((0xFF, EOI)) else None
            mark, kind = buffer[self._at], buffer[self._at + 1]
            if mark != 0xFF or kind in (0, SOI):
                raise DamagedPictureError
            if kind == EOI:
                return self._at + 2
            if kind == 0xFF:  # a fill byte
                self._at += 1
            elif kind == TEM or kind in RESTARTS:  # without a length
                self._at += 2
            else:
                end = self._at + 2 + int.from_bytes(buffer[self._at + 2 : self._at + 4], "big")
                if end < self._at + 4:
                    raise DamagedPictureError
                if len(buffer) < end:
                    return None
                self._at, self._in_scan = end, kind == SOS
