"""The photographs of a job: found, sorted, each once; kept as bytes in Arrow's arrays, for there may be millions."""

from __future__ import annotations

import glob
import hashlib
import itertools
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, BinaryIO

from edgefr.errors import EdgefrError, require_extra
from edgefr.io.files import atomic_write
from edgefr.io.picture_header import PICTURE_SUFFIXES

LONGEST_PATH = 4096
"""Bytes of a path, as Linux has it."""
BLOCK = 65_536
"""Paths that are Python's objects at once."""

LIST = "photographs.parquet"
Paths = Any
"""A sorted `pyarrow.LargeBinaryArray` of absolute paths as the system has them."""


def photographs(arguments: Sequence[str], listed: Path | None) -> Paths:
    """Absolute paths of files as they are, of pictures below folders, of what globs match, and of a list's lines.

    Raises:
        EdgefrError: there are none, a folder cannot be read, or the list is none.
    """
    pa, compute = require_extra("pyarrow", "bulk"), require_extra("pyarrow.compute", "bulk")
    named = itertools.chain.from_iterable(map(_of, arguments))
    lines = iter(()) if listed is None else _lines(listed)
    blocks = []
    for names in _blocks(itertools.chain((os.fsencode(name) for name in named), lines)):
        blocks.append(pa.array([os.path.abspath(name) for name in names], pa.large_binary()))  # noqa: PTH100
    if not blocks:
        raise EdgefrError("photographs", "none", "name files, folders or globs, or give --list FILE")
    paths = compute.unique(pa.chunked_array(blocks))
    return paths.take(compute.array_sort_indices(paths))


def digest_of(paths: Paths) -> str:
    """SHA-256 of all paths, each ended by a zero byte, which none holds."""
    digest = hashlib.sha256()
    for start in range(0, len(paths), BLOCK):
        digest.update(b"".join(path + b"\0" for path in paths.slice(start, BLOCK).to_pylist()))
    return digest.hexdigest()


def write_list(folder: Path, paths: Paths, shard: int) -> None:
    """Write the list so that each shard's paths are a row group of it."""
    pa, parquet = require_extra("pyarrow", "bulk"), require_extra("pyarrow.parquet", "bulk")
    with atomic_write(folder / LIST) as temporary:
        parquet.write_table(pa.table({"path": paths}), temporary, row_group_size=shard, write_statistics=False)


def list_reader(folder: Path) -> Callable[[int], list[str]]:
    """A function that gives the paths of a shard.

    Raises:
        EdgefrError: the list is missing or damaged.
    """
    pa, parquet = require_extra("pyarrow", "bulk"), require_extra("pyarrow.parquet", "bulk")
    try:
        file = parquet.ParquetFile(folder / LIST)
    except (OSError, pa.ArrowException) as error:
        raise EdgefrError(
            f"the job's list in {folder / LIST}", "none or a damaged one", f"remove {folder} and begin again"
        ) from error
    return lambda number: [os.fsdecode(path) for path in file.read_row_group(number).column("path").to_pylist()]


def shown(path: str) -> str:
    """The path as text: bytes that are not UTF-8 as `\\xNN`."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _of(argument: str) -> Iterable[str]:
    if os.path.isdir(argument):  # noqa: PTH112 - millions of names: strings
        found: Iterator[str] = _below(argument)
    elif os.path.exists(argument) or not glob.has_magic(argument):  # noqa: PTH110
        found = iter([argument])  # a file that is missing is refused by name when it is read
    else:
        found = (name for name in glob.iglob(argument, recursive=True) if os.path.isfile(name))  # noqa: PTH113, PTH207
    first = next(found, None)
    if first is None:
        raise EdgefrError(f"photographs in {argument}", "none", "check the path")
    return itertools.chain([first], found)


def _below(folder: str) -> Iterator[str]:
    """Pictures below a folder, in no order; links to folders are not followed."""
    waiting = [folder]
    while waiting:
        try:
            with os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
                    elif os.path.splitext(entry.name)[1].lower() in PICTURE_SUFFIXES and entry.is_file():  # noqa: PTH122
                        yield entry.path
        except OSError as error:
            raise EdgefrError(
                f"to read the folder {error.filename}",
                f"that this cannot be done ({error.strerror})",
                "change its permissions, or name the others",
            ) from error


def _lines(listed: Path) -> Iterator[bytes]:
    """The lines of a file, or with `-` of stdin, that are not empty."""
    try:
        with _opened(listed) as file:
            while line := file.readline(LONGEST_PATH + 1):
                if len(line) > LONGEST_PATH or b"\0" in line:
                    raise EdgefrError(
                        f"a path of at most {LONGEST_PATH} bytes in each line of {listed}",
                        "something else",
                        "give a text file, one path a line",
                    )
                if name := line.rstrip(b"\r\n"):
                    yield name
    except OSError as error:
        raise EdgefrError(
            f"a list of photographs in {listed}", f"that it cannot be read ({error.strerror})", "check --list"
        ) from error


def _opened(listed: Path) -> AbstractContextManager[BinaryIO]:
    return nullcontext(sys.stdin.buffer) if str(listed) == "-" else listed.open("rb")


def _blocks(names: Iterator[bytes]) -> Iterator[list[bytes]]:
    while block := list(itertools.islice(names, BLOCK)):
        yield block
