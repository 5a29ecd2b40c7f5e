"""The configuration file `edgefr.toml`: where it is, and what is on which line."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgefr.errors import InvalidArgumentError, UnavailableError

CONFIG_VARIABLE = "EDGEFR_CONFIG"
FILE_NAME = "edgefr.toml"
SYSTEM_FILE = Path("/etc/edgefr") / FILE_NAME
MAX_BYTES = 1 << 16

Keys = tuple[str, ...]
"""A key with the tables that it is in, from the outermost one."""


class ConfigError(InvalidArgumentError):
    """A key of a configuration file is unknown or has a wrong value.

    Attributes:
        key: The key with its tables, as "watch.port".
        line: Its line in the file, from 1.
    """

    def __init__(self, expected: str, found: str, fix: str, key: str = "", line: int = 0) -> None:
        super().__init__(expected, found, fix)
        self.key, self.line = key, line


@dataclass(frozen=True)
class ConfigFile:
    """A configuration file that was read. What its tables mean is for `config_values`.

    Attributes:
        path: The file.
        text: Its content.
        tables: The same as nested dicts.
    """

    path: Path
    text: str
    tables: dict[str, Any]

    @classmethod
    def read(cls, path: Path) -> ConfigFile:
        """Read a file.

        Raises:
            UnavailableError: It cannot be read.
            InvalidArgumentError: It is too large or not TOML.
        """
        try:
            with path.open("rb") as file:
                content = file.read(MAX_BYTES + 1)
        except OSError as error:
            raise UnavailableError(
                f"a configuration file at {path}",
                error.strerror or str(error),
                f"correct the path or its permissions, or set ${CONFIG_VARIABLE} to another file",
            ) from error
        if len(content) > MAX_BYTES:
            raise InvalidArgumentError(f"at most {MAX_BYTES >> 10} KiB in {path}", "more", "check the path")
        try:
            text = content.decode().replace("\r\n", "\n")
            return cls(path, text, parse_toml(text))
        except (ValueError, RecursionError) as error:  # arrays in arrays a thousand deep
            raise InvalidArgumentError(f"TOML in {path}", str(error), "correct the file") from error

    def line(self, keys: Keys) -> int:
        """The line of a key, from 1; of a table the first line that names it. 0 if it is not in the file."""
        return next((line for line, found in key_lines(self.text) if found[: len(keys)] == keys), 0)

    def fault(self, keys: Keys, expected: str, found: str, fix: str) -> ConfigError:
        """The error for a key of the file, or for a table.

        Args:
            keys: The key with its tables.
            expected: What was needed, as a phrase that "at FILE:LINE" can follow.
            found: What is there instead.
            fix: What the user can do.
        """
        line = self.line(keys)
        return ConfigError(f"{expected} at {self.path}:{line}", found, fix, ".".join(keys), line)


def config_path() -> Path | None:
    """The configuration file in use: $EDGEFR_CONFIG, else the one of the user, else the one of the system.

    The current folder is not searched: it may hold files of others, and the file names commands' outputs and models.

    Returns:
        The file, or None if there is none. The one that $EDGEFR_CONFIG names need not exist.
    """
    if named := os.environ.get(CONFIG_VARIABLE):
        return Path(named)
    from edgefr.io.user_folders import user_folder

    folder = user_folder("config")
    places = [SYSTEM_FILE] if folder is None else [folder / FILE_NAME, SYSTEM_FILE]
    return next((path for path in places if os.path.isfile(path)), None)  # noqa: PTH113 (no error if forbidden)


def parse_toml(text: str) -> dict[str, Any]:
    """The tables of a text. Raises ValueError if it is not TOML."""
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    return tomllib.loads(text)


def key_lines(text: str) -> Iterator[tuple[int, Keys]]:
    """The line of every value in a TOML text, as numbers from 1. Headers of tables count as their tables.

    TOML is a sequence of statements, each of whole lines: a header or a key with its value. A statement is complete as
    soon as it can be parsed, so multi-line texts and arrays need no other care.

    Args:
        text: Valid TOML.

    Yields:
        The line on which a statement begins, and its keys.
    """
    header, statement, start = "", "", 1
    for number, line in enumerate(text.split("\n"), 1):
        statement, start = (statement + line + "\n", start) if statement else (line + "\n", number)
        try:
            parsed = parse_toml(statement)
        except (ValueError, RecursionError):
            continue  # the value goes on in the next line
        if statement.lstrip().startswith("["):
            header = statement
            yield start, _keys_of(parsed)[0]
        elif parsed:
            for keys in _keys_of(parse_toml(header + statement)):
                yield start, keys
        statement = ""


def _keys_of(tables: Any, above: Keys = ()) -> list[Keys]:
    """The keys of all values, and of empty tables."""
    if isinstance(tables, list) and tables and isinstance(tables[-1], dict):
        tables = tables[-1]
    if not isinstance(tables, dict) or not tables:
        return [above]
    return [keys for name, value in tables.items() for keys in _keys_of(value, (*above, name))]
