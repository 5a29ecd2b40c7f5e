"""Text files of millions of lines of one shape, read a block at a time; a line of another shape is named."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from edgefr.errors import EdgefrError

Numbers = npt.NDArray[np.int64]

BLOCK = 1 << 20
"""Bytes of lines that are parsed at once."""


class Block(NamedTuple):
    """Some lines of a file, whole, and the number of the first, from 1."""

    path: Path
    lines: list[bytes]
    number: int

    def words(self, shape: bytes, wanted: str) -> dict[int, tuple[bytes, ...]]:
        """Words of every line that is not blank, by its number; the first that has not this shape is refused."""
        match, found = re.compile(rb"\s*" + shape + rb"\s*").fullmatch, {}
        for number, line in enumerate(self.lines, self.number):
            if entry := match(line):
                found[number] = entry.groups()
            elif line.strip():
                raise damaged(wanted, number, self.path, line)
        return found

    def plain(self, columns: int) -> Numbers | None:
        """(L, columns) where all of the L lines are plain whole numbers; None where a closer look is needed."""
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


def blocks(path: Path, header: bool = False) -> Iterator[Block]:
    """The whole file, less its first line where that is a header.

    Raises:
        EdgefrError: a line is longer than a block.
    """
    with path.open("rb") as file:
        number = 1 + bool(header and file.readline(BLOCK))
        while lines := file.readlines(BLOCK):
            if len(lines[-1]) > BLOCK:
                raise damaged("a short line", number + len(lines) - 1, path, lines[-1])
            yield Block(path, lines, number)
            number += len(lines)


def whole_numbers(words: Iterable[tuple[bytes, ...]], columns: int) -> Numbers:
    """Words of digits -> (L, columns) int64, also where L is 0."""
    return np.array(list(words), "S18").astype(np.int64).reshape(-1, columns)


def damaged(wanted: str, line: int, path: Path, found: bytes) -> EdgefrError:
    shown = found.strip()[:60].decode("ascii", errors="replace")
    return EdgefrError(f"{wanted} in line {line} of {path}", f"{shown!a}", "get the file again")
