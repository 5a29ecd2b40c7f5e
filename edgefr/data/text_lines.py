"""Reads text files of millions of lines of one format, a block at a time. A line of another format is reported."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from edgefr.errors import EdgefrError
from edgefr.types import Ints

BLOCK = 1 << 20
"""Bytes of lines that are parsed at once."""


class Block(NamedTuple):
    """Some whole lines of a file, and the number of the first, from 1."""

    path: Path
    lines: list[bytes]
    number: int

    def match_lines(self, pattern: bytes, description: str) -> dict[int, tuple[bytes, ...]]:
        """Groups of a regular expression for every line that is not blank, by number; `description` is the format in
        words.

        Raises:
            EdgefrError: A line has another format. The first one is named.
        """
        match, found = re.compile(rb"\s*" + pattern + rb"\s*").fullmatch, {}
        for number, line in enumerate(self.lines, self.number):
            if entry := match(line):
                found[number] = entry.groups()
            elif line.strip():
                raise malformed_line(description, number, self.path, line)
        return found

    def parse_integers(self, columns: int) -> Ints | None:
        """Parse L lines of whole numbers to (L, columns), much faster than `match_lines`; None if a line has another
        format.
        """
        text = b"".join(self.lines)
        codes = np.frombuffer(text, np.uint8)
        digit = (codes >= ord("0")) & (codes <= ord("9"))
        starts, ends = np.flatnonzero(np.diff(digit, prepend=False, append=False)).reshape(-1, 2).T
        line = np.searchsorted(np.flatnonzero(codes == ord("\n")), starts)
        if (
            not np.array_equal(line, np.repeat(np.arange(len(self.lines)), columns))
            or (ends - starts).max() > 18
            or not np.isin(codes[~digit], list(b" \t\r\n")).all()
        ):
            return None
        return np.fromstring(text, np.int64, sep=" ").reshape(-1, columns)


def read_blocks(path: Path, header: bool = False) -> Iterator[Block]:
    """Read a file as blocks of whole lines, without its first line if that is a header.

    Raises:
        EdgefrError: A line is longer than a block.
    """
    with path.open("rb") as file:
        number = 1 + bool(header and file.readline(BLOCK))
        while lines := file.readlines(BLOCK):
            if len(lines[-1]) > BLOCK:
                raise malformed_line("a short line", number + len(lines) - 1, path, lines[-1])
            yield Block(path, lines, number)
            number += len(lines)


def integers_from_words(words: Iterable[tuple[bytes, ...]], columns: int) -> Ints:
    """Words of digits -> (L, columns), also if L is 0."""
    return np.array(list(words), "S18").astype(np.int64).reshape(-1, columns)


def malformed_line(expected: str, line: int, path: Path, found: bytes) -> EdgefrError:
    """The error for a line of another format."""
    shown = found.strip()[:60].decode("ascii", errors="replace")
    return EdgefrError(f"{expected} in line {line} of {path}", f"{shown!a}", "get the file again")
