"""The photographs of a job: sorted, each once, as bytes in Arrow arrays because there may be millions."""

from __future__ import annotations

import glob
import hashlib
import itertools
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, BinaryIO

from edgefr.errors import InvalidArgumentError, UnavailableError, require_extra
from edgefr.io.files import atomic_write
from edgefr.io.picture_files import PictureFinder
from edgefr.recognition.batch import no_photographs

MAX_PATH = 4096
"""Bytes of a path in Linux."""
BLOCK = 65_536
"""Number of paths that are Python objects at a time."""
LIST = "photographs.parquet"
Paths = Any
"""A sorted `pyarrow.LargeBinaryArray` of absolute paths, in the encoding of the file system."""


def list_paths(arguments: Sequence[str], listed: Path | None, finder: PictureFinder | None = None) -> Paths:
    """Find photographs.

    Args:
        arguments: Files, folders (all pictures below them) and globs.
        listed: A text file with one path per line, or "-" for stdin.
        finder: Lists the folders, and has what was left out of them afterwards.

    Returns:
        The absolute paths, sorted, each once.

    Raises:
        InvalidArgumentError: There are none, or the list is not a list.
        UnavailableError: The list cannot be read.
    """
    pa, compute = require_extra("pyarrow", "bulk"), require_extra("pyarrow.compute", "bulk")
    finder = finder or PictureFinder()
    named = (os.fsencode(name) for argument in arguments for name in _expand(argument, finder))
    lines = iter(()) if listed is None else _read_lines(listed)
    blocks = []
    for names in _split(itertools.chain(named, lines)):
        blocks.append(pa.array([os.path.abspath(name) for name in names], pa.large_binary()))  # noqa: PTH100
    if not blocks:
        found = (
            f"none. The first that was left out: {finder.left_out[0].reason.rstrip('.')}" if finder.left_out else "none"
        )
        raise InvalidArgumentError("photographs", found, "name files, folders or globs, or give --list FILE")
    paths = compute.unique(pa.chunked_array(blocks))
    return paths.take(compute.array_sort_indices(paths))


def digest(paths: Paths) -> str:
    """SHA-256 of all paths, each followed by a zero byte, which no path contains."""
    state = hashlib.sha256()
    for start in range(0, len(paths), BLOCK):
        state.update(b"".join(path + b"\0" for path in paths.slice(start, BLOCK).to_pylist()))
    return state.hexdigest()


def write_list(folder: Path, paths: Paths, shard: int) -> None:
    """Write the list with one Parquet row group for each shard."""
    pa, parquet = require_extra("pyarrow", "bulk"), require_extra("pyarrow.parquet", "bulk")
    with atomic_write(folder / LIST, private=True) as temporary:
        parquet.write_table(pa.table({"path": paths}), temporary, row_group_size=shard, write_statistics=False)


def list_reader(folder: Path) -> Callable[[int], list[str]]:
    """Open the list of a job; returns a function that returns the paths of a shard.

    Raises:
        UnavailableError: The list is missing or damaged.
    """
    pa, parquet = require_extra("pyarrow", "bulk"), require_extra("pyarrow.parquet", "bulk")
    try:
        file = parquet.ParquetFile(folder / LIST)
    except (OSError, pa.ArrowException) as error:
        raise UnavailableError(
            f"the list of photographs in {folder / LIST}", "none, or a damaged one", f"remove {folder} and start again"
        ) from error
    return lambda number: [os.fsdecode(path) for path in file.read_row_group(number).column("path").to_pylist()]


def printable(path: str) -> str:
    r"""A path as valid text, with bytes that are not UTF-8 as `\xNN`."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _expand(argument: str, finder: PictureFinder) -> Iterator[str]:
    left_out = len(finder.left_out)
    if os.path.isdir(argument):  # noqa: PTH112 - strings, because there may be millions
        found: Iterator[str] = finder.find(argument)
    elif os.path.exists(argument) or not glob.has_magic(argument):  # noqa: PTH110
        found = iter([argument])  # if it does not exist, reading it gives the error
    else:
        found = (name for name in glob.iglob(argument, recursive=True) if os.path.isfile(name))  # noqa: PTH113, PTH207
    first = next(found, None)
    if first is not None:
        yield first
        yield from found
    elif len(finder.left_out) == left_out:
        raise no_photographs(argument, finder)


def _read_lines(listed: Path) -> Iterator[bytes]:
    """The lines that are not empty."""
    try:
        with _open_list(listed) as file:
            while line := file.readline(MAX_PATH + 1):
                if len(line) > MAX_PATH or b"\0" in line:
                    raise InvalidArgumentError(
                        f"a path of at most {MAX_PATH} bytes in each line of {listed}",
                        "something else",
                        "give a text file with one path per line",
                    )
                if name := line.rstrip(b"\r\n"):
                    yield name
    except OSError as error:
        raise UnavailableError(
            "", f"The list of photographs {listed} cannot be read: {error.strerror}", "check --list"
        ) from error


def _open_list(listed: Path) -> AbstractContextManager[BinaryIO]:
    return nullcontext(sys.stdin.buffer) if str(listed) == "-" else listed.open("rb")


def _split(names: Iterator[bytes]) -> Iterator[list[bytes]]:
    while block := list(itertools.islice(names, BLOCK)):
        yield block
