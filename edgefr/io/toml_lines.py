"""On which line of a TOML file a key is. The parser of the standard library does not keep that."""

from __future__ import annotations

import re
import sys

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

HEADER = re.compile(r"\s*(\[\[?)([^\[\]]+)\]\]?\s*(#.*)?")
ASSIGNMENT = re.compile(r"\s*([^=\[\]#]+?)\s*=")


def line_of(text: str, key: str) -> int | None:
    """The line of a key, or of the nearest table or value that holds it.

    Args:
        text: A valid TOML document.
        key: Path of the key, as "rules[0].when[1]".

    Returns:
        The number of the line, from 1; None if no part of the path is there.
    """
    lines = _lines(text)
    while key:
        if key in lines:
            return lines[key]
        key = key[: max(key.rfind("."), key.rfind("["), 0)]
    return None


def _lines(text: str) -> dict[str, int]:
    """The line of every key that an assignment or a header names."""
    found: dict[str, int] = {}
    counts: dict[str, int] = {}
    table, statement, first = "", "", 0
    for number, line in enumerate(text.split("\n"), 1):
        if not statement and (header := HEADER.fullmatch(line)):
            table = _table(_plain(header[2]), header[1] == "[[", counts)
            found.setdefault(table, number)
            continue
        first = first if statement else number
        statement += line + "\n"
        if not _is_complete(statement):
            continue  # within an array or a text of several lines
        if assignment := ASSIGNMENT.match(statement):
            name = _plain(assignment[1])
            found.setdefault(f"{table}.{name}" if table else name, first)
        statement = ""
    return found


def _table(name: str, is_array: bool, counts: dict[str, int]) -> str:
    """The path of a table, with the numbers of the arrays of tables that it is in."""
    path = ""
    parts = name.split(".")
    for place, part in enumerate(parts):
        path = f"{path}.{part}" if path else part
        if is_array and place == len(parts) - 1:
            counts[path] = counts.get(path, -1) + 1
        if path in counts:
            path = f"{path}[{counts[path]}]"
    return path


def _plain(name: str) -> str:
    """A key without spaces and quotation marks around its parts."""
    return ".".join(part.strip().strip("\"'") for part in name.split("."))


def _is_complete(statement: str) -> bool:
    try:
        tomllib.loads(statement)
    except tomllib.TOMLDecodeError:
        return False
    return True
