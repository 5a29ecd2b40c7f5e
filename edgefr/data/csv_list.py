"""A CSV list of pictures: lines of `path,person`, where the path is relative to the list."""

from __future__ import annotations

import csv
from pathlib import Path, PurePosixPath

from edgefr.errors import EdgefrError
from edgefr.io.picture_files import PICTURE_SUFFIXES, leaves_folder

HEADER = ["path", "person"]
MAX_LIST_BYTES = 1 << 30
"""About ten million lines."""


def read_list(path: Path) -> dict[str, str]:
    """Read a list of pictures: name -> path in the list's folder, sorted by name.

    The name is the path with the person as its last folder, `person/picture.jpg`; a picture that is already in a folder
    of its person keeps its path.

    Raises:
        EdgefrError: A line is malformed, leaves the list's folder, or repeats a picture. The line is named.
    """
    pictures: dict[str, str] = {}
    try:
        if path.stat().st_size > MAX_LIST_BYTES:
            raise ValueError(f"more than {MAX_LIST_BYTES >> 20} MiB")
        with path.open(encoding="utf-8-sig", newline="") as stream:
            lines = csv.reader(stream, strict=True)
            for row in lines:
                if not row or (lines.line_num == 1 and [cell.strip().lower() for cell in row] == HEADER):
                    continue
                try:
                    name, picture = _entry(row)
                    if name in pictures:
                        raise ValueError(f"{picture!r} a second time")
                except ValueError as error:
                    raise ValueError(f"{error} in line {lines.line_num}") from error
                pictures[name] = picture
    except csv.Error as error:
        raise _malformed(path, f"{error} in line {lines.line_num}") from error
    except (OSError, ValueError) as error:  # a UnicodeDecodeError is a ValueError
        raise _malformed(path, str(error)) from error
    return dict(sorted(pictures.items()))


def _entry(row: list[str]) -> tuple[str, str]:
    """Name and path of a line; a ValueError has what was found instead."""
    if len(row) != len(HEADER):
        raise ValueError(f"{len(row)} cells")
    picture, person = row[0].strip(), row[1].strip()
    if not person or person in (".", "..") or any(sign in person for sign in "/\\\0"):
        raise ValueError(f"the person {person[:60]!r}, which cannot be the name of a folder,")
    path = PurePosixPath(picture)
    if leaves_folder(picture):
        raise ValueError(f"the path {picture[:60]!r}, which leaves the list's folder,")
    if path.suffix.lower() not in PICTURE_SUFFIXES:
        raise ValueError(f"{picture[:60]!r}, which is not a picture,")
    folder = path.parent if path.parent.name == person else path.parent / person
    return str(folder / path.name), str(path)


def _malformed(path: Path, found: str) -> EdgefrError:
    return EdgefrError(f"lines of 'path,person' in {path}, with paths below its folder", found, "correct the list")
