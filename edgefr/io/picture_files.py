"""Finds the pictures in folders, and reports what it leaves out."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from edgefr.errors import UnreadableImageError
from edgefr.io.picture_header import SIGNATURE_BYTES, identify_picture

JPEG_SUFFIXES = frozenset({".jpg", ".jpeg", ".jpe", ".jfif"})
PICTURE_SUFFIXES = frozenset(
    {*JPEG_SUFFIXES, ".mpo", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".heic", ".heif", ".hif", ".avif"}
)
"""Suffixes of the files that count as pictures in a folder. An .mpo file is a JPEG file with more pictures after the
first one, which is read."""
READABLE = frozenset({"JPEG", "PNG", "GIF", "WebP", "BMP", "HEIC", "AVIF"})
"""Kinds of pictures that are read under a right suffix. TIFF is not among them, because raw files of cameras look the
same."""


@dataclass(frozen=True)
class RejectedImage:
    """A photograph that was left out.

    Attributes:
        path: The photograph.
        reason: The error, as a sentence.
    """

    path: str
    reason: str


def is_picture_name(name: str) -> bool:
    """Whether a file of this name counts as a picture. Archives of a Mac hold a shadow `._a.jpg` of every `a.jpg`."""
    base = os.path.basename(name)  # noqa: PTH119 - strings, because there may be millions
    return suffix_of(base) in PICTURE_SUFFIXES and not base.startswith("._")


def suffix_of(name: str) -> str:
    """The suffix of a name in lower case, with its dot."""
    return os.path.splitext(name)[1].lower()  # noqa: PTH122


def leaves_folder(name: str) -> bool:
    """Whether a relative path, on this or another system, names something outside of the folder that it belongs to."""
    has_drive = name[:1].isalpha() and name[1:2] == ":"
    above = ".." in name and ".." in name.replace("\\", "/").split("/")  # strings, because there may be millions
    return name.startswith(("/", "\\")) or has_drive or above or "\0" in name


@dataclass
class PictureFinder:
    """Lists the pictures of folders.

    Attributes:
        left_out: Folders that cannot be read, and files that are or should be pictures but are not listed.
        other_files: Suffix -> number of the files that are no pictures.
        repeated_links: Number of links to folders that are listed under their own name or another link.
    """

    left_out: list[RejectedImage] = field(default_factory=list)
    other_files: Counter[str] = field(default_factory=Counter)
    repeated_links: int = 0

    def find(self, folder: str) -> Iterator[str]:
        """The pictures below a folder, in any order.

        Links to folders are followed, and every folder is listed once, so that a link to a folder above itself does no
        harm. A folder that can be reached without a link is listed under its own name.

        Args:
            folder: The folder.

        Returns:
            Paths that begin with `folder`. Attributes of this object are complete at the end of the iteration.
        """
        visited: set[tuple[int, int]] = set()
        pending, links = [folder], list[str]()
        while pending or links:
            links.sort(reverse=True)
            path, is_link = (pending.pop(), False) if pending else (links.pop(), True)
            try:
                status = os.stat(path)  # noqa: PTH116
                identity = status.st_dev, status.st_ino
                if identity in visited:
                    self.repeated_links += is_link
                    continue
                visited.add(identity)
                with os.scandir(path) as entries:
                    for entry in entries:
                        yield from self._visit(entry, links if entry.is_symlink() else pending)
            except OSError as error:
                self._leave_out(path, "a folder that can be read", _reason(error), "change its permissions")

    def _visit(self, entry: os.DirEntry[str], folders: list[str]) -> Iterator[str]:
        """The path of an entry if it is a picture; a folder is added to `folders`."""
        try:
            if entry.is_dir():
                folders.append(entry.path)
            elif self.accepts(entry.path, entry.is_file, lambda: _read_start(entry.path)):
                yield entry.path
        except OSError as error:  # for example a link to itself, or into a folder that cannot be read
            self._leave_out(entry.path, "a file or folder", _reason(error), "correct the link")

    def accepts(self, path: str, is_file: Callable[[], bool], read_start: Callable[[], bytes]) -> bool:
        """Whether a file is listed as a picture. Other files are counted, and pictures among them left out.

        Args:
            path: The path or name of the file.
            is_file: Whether it is a regular file.
            read_start: Reads its first `SIGNATURE_BYTES`; called if its name is not that of a picture.
        """
        if not is_file():
            if is_picture_name(path):
                self._leave_out(path, "a picture", "a link to nothing, or no regular file", "remove or replace it")
            else:
                self.other_files[suffix_of(path)] += 1
            return False
        if is_picture_name(path):
            return True
        kind = identify_picture(read_start())
        if kind is None:
            self.other_files[suffix_of(path)] += 1
        else:
            fix = "rename it to end in .jpg" if kind in READABLE else "save it as JPEG"
            self._leave_out(
                path, "a picture file with a suffix such as .jpg", f"a {kind} picture under another one", fix
            )
        return False

    def accepts_member(self, name: str, read_start: Callable[[], bytes]) -> bool:
        """Whether a member of an archive is listed as a picture.

        One whose name leaves the folder of the archive is left out, because names become paths where pictures are
        written.
        """
        if leaves_folder(name):
            self._leave_out(name, "a name below the folder of its archive", "one outside of it", "pack it again")
            return False
        return self.accepts(name, lambda: True, read_start)

    def add_stray(self, path: str, expected: str) -> None:
        """Report a file that is a picture, or count it otherwise, where there should be only `expected`."""
        if self.accepts(path, lambda: os.path.isfile(path), lambda: _read_start(path)):  # noqa: PTH113
            self._leave_out(path, expected, "a picture", "move it into the right folder")

    def summary(self) -> str:
        """What is not listed and need not be, in one line; empty if there is nothing."""
        parts = []
        if total := self.other_files.total():
            kinds = ", ".join(f"{count:,} {kind or 'without suffix'}" for kind, count in self.other_files.most_common())
            parts.append(f"{total:,} other {'file' if total == 1 else 'files'} ({kinds})")
        if count := self.repeated_links:
            parts.append(f"{count:,} {'link' if count == 1 else 'links'} to folders that are read anyway")
        return " and ".join(parts)

    def _leave_out(self, path: str, expected: str, found: str, fix: str) -> None:
        self.left_out.append(RejectedImage(path, str(UnreadableImageError(f"{expected} at {path}", found, fix))))


def _reason(error: OSError) -> str:
    return f"that it cannot be read ({error.strerror or error})"


def _read_start(path: str) -> bytes:
    """The first bytes of a file; none if it cannot be read, and it then counts as any other file."""
    try:
        with open(path, "rb") as file:  # noqa: PTH123
            return file.read(SIGNATURE_BYTES)
    except OSError:
        return b""
