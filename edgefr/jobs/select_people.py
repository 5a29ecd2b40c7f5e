"""Makes one collection of aligned faces from several: of some people, or of everyone but some people."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgefr.data.collections import FaceFolder, person_of
from edgefr.errors import EdgefrError, InvalidArgumentError
from edgefr.io.files import atomic_write
from edgefr.jobs.align_photographs import zip_member

MAX_PEOPLE = 10_000_000
"""Most lines of a list of people."""

MAX_NAME = 1000
"""Longest name of a person, in characters."""


@dataclass(frozen=True)
class Selection:
    """The result of `select_people`.

    Attributes:
        pictures: Number of pictures written.
        people: Number of people in them.
        left_out: Number of pictures of other people.
    """

    pictures: int
    people: int
    left_out: int


def read_people(path: Path) -> frozenset[str]:
    """Read a list of people.

    Args:
        path: A text file with the name of a person in each line. Empty lines and lines that begin with # are comments.

    Returns:
        The names.

    Raises:
        EdgefrError: The file is missing, is not text, or lists nobody.
    """
    names: set[str] = set()
    try:
        with path.open(encoding="utf-8-sig") as lines:
            while line := lines.readline(MAX_NAME + 2):
                if len(line) > MAX_NAME + 1 or len(names) > MAX_PEOPLE:
                    raise EdgefrError(
                        f"at most {MAX_PEOPLE:,} names of at most {MAX_NAME} characters in {path}",
                        "more",
                        "correct the list",
                    )
                names.add(line.strip())
    except (OSError, UnicodeDecodeError) as error:
        raise EdgefrError(
            f"a list of people at {path}",
            str(getattr(error, "strerror", None) or "bytes that are not UTF-8"),
            "give a text file with a name in each line",
        ) from error
    people = frozenset(name for name in names if name and not name.startswith("#"))
    if not people:
        raise EdgefrError(f"the name of at least one person in {path}", "none", "write one name in each line")
    return people


def select_people(
    folders: Sequence[FaceFolder],
    only: Collection[str] | None,
    without: Collection[str],
    output: Path,
    progress: Callable[[int], None],
) -> Selection:
    """Write the pictures of the selected people to a zip, as they are.

    The same collections give the same zip, byte for byte.

    Args:
        folders: The collections. Pictures keep their names.
        only: The people to take. None takes everyone.
        without: The people to leave out.
        output: The zip to write.
        progress: Called with 1 for every picture.

    Returns:
        What was written and how much was left out.

    Raises:
        InvalidArgumentError: A person to take is in no collection, nobody is left, or two collections have a picture of
            the same name.
        EdgefrError: A picture is missing or larger than pictures may be.
        UnavailableError: The zip cannot be written.
    """
    if only is not None:
        _check_known(only, folders)
    written: set[str] = set()
    people: set[str] = set()
    total = 0
    with atomic_write(output, private=True) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for folder, name in _pictures(folders):
            person = person_of(name)
            if person not in without and (only is None or person in only):
                if name in written:
                    raise InvalidArgumentError(
                        "pictures of different names in all collections", f"{name} twice", "rename a folder of one"
                    )
                archive.writestr(zip_member(name), _content(folder, name))
                written.add(name)
                people.add(person)
            total += 1
            progress(1)
        if not written:
            raise InvalidArgumentError("pictures of at least one person", "none are left", "leave out fewer people")
    return Selection(len(written), len(people), total - len(written))


def _pictures(folders: Sequence[FaceFolder]) -> Iterator[tuple[FaceFolder, str]]:
    return ((folder, name) for folder in folders for name in folder.names)


def _check_known(only: Collection[str], folders: Sequence[FaceFolder]) -> None:
    """A list that does not belong to the collections would select too few people without a word."""
    known = {person_of(name) for _, name in _pictures(folders)}
    missing = sorted(set(only) - known)
    if missing:
        others = f" and {len(missing) - 1:,} others" if len(missing) > 1 else ""
        raise InvalidArgumentError(
            "people who are in the collections",
            f"no picture of {missing[0]}{others}",
            "give the list that belongs to them",
        )


def _content(folder: FaceFolder, name: str) -> bytes:
    try:
        return folder.read_bytes(name)
    except (EdgefrError, LookupError, ValueError, OSError) as error:
        raise EdgefrError(f"a whole picture in {folder.path}: {name}", str(error), "remove or replace it") from error
