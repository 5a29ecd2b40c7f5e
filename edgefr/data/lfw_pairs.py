"""The LFW View 2 protocol: ten folds of pairs whose people are disjoint (Huang et al. 2007)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgefr.errors import EdgefrError

MAX_LINES = 1_000_000


@dataclass(frozen=True)
class NamedPair:
    """Two pictures by name, whether they show the same person, and the fold (from 1) that the pair belongs to."""

    first: str
    second: str
    same: bool
    fold: int

    @property
    def people(self) -> tuple[str, str]:
        """The people of both pictures."""
        return self.first.partition("/")[0], self.second.partition("/")[0]


def read_pairs(path: Path) -> list[NamedPair]:
    """Read LFW's pairs file.

    Args:
        path: A text file of a line `folds pairs`, then for each fold `pairs` lines `name i j` and as many lines
            `name i name j`.

    Returns:
        The pairs in the order of the file.

    Raises:
        EdgefrError: The file is missing, or a line is malformed. The line is named.
    """
    if not path.is_file():
        raise EdgefrError(f"LFW's pairs file at {path}", "no file", "check the path")
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise EdgefrError(f"text in {path}", "bytes that are not UTF-8", "give LFW's pairs.txt") from error
    if len(lines) > MAX_LINES:
        raise EdgefrError(f"at most {MAX_LINES:,} pairs in {path}", f"{len(lines):,} lines", "split the file")
    folds, size = _header(lines[0] if lines else "", path)
    if len(lines) < 1 + folds * 2 * size:
        raise EdgefrError(f"{folds * 2 * size} pairs in {path}", str(len(lines) - 1), "get the whole file again")
    return [
        _pair(lines[1 + index], number=2 + index, fold=1 + index // (2 * size), path=path)
        for index in range(folds * 2 * size)
    ]


def _header(line: str, path: Path) -> tuple[int, int]:
    words = line.split()
    if len(words) != 2 or not all(word.isascii() and word.isdigit() for word in words):
        raise EdgefrError(f"'folds pairs' in line 1 of {path}", f"{line[:60]!r}", "give LFW's pairs.txt (View 2)")
    return int(words[0]), int(words[1])


def _pair(line: str, number: int, fold: int, path: Path) -> NamedPair:
    words = line.split()
    numbers = words[1::2] if len(words) == 4 else words[1:]
    if len(words) not in (3, 4) or not all(word.isascii() and word.isdigit() for word in numbers):
        raise EdgefrError(
            f"'name i j' or 'name i name j' in line {number} of {path}", f"{line[:60]!r}", "get the file again"
        )
    if len(words) == 3:
        return NamedPair(_picture(words[0], words[1]), _picture(words[0], words[2]), True, fold)
    return NamedPair(_picture(words[0], words[1]), _picture(words[2], words[3]), False, fold)


def _picture(person: str, number: str) -> str:
    return f"{person}/{person}_{int(number):04d}.jpg"


def people_of(pairs: list[NamedPair], folds: tuple[int, ...]) -> set[str]:
    """The people who are in a pair of these folds."""
    return {person for pair in pairs if pair.fold in folds for person in pair.people}
