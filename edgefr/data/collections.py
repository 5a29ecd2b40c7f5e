"""Collections of faces in a folder, a zip, a `.rec` or a CSV list: one picture at a time, by name, in any process."""

from __future__ import annotations

import hashlib
import stat
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path

import numpy as np

from edgefr.data.csv_list import read_list
from edgefr.data.recordio import RecordPictures
from edgefr.data.zip_archive import ZipPictures
from edgefr.errors import EdgefrError, InvalidArgumentError, UnreadableImageError
from edgefr.io.files import sha256_of
from edgefr.io.jpeg import MAX_PICTURE_BYTES, decode_picture
from edgefr.io.picture_files import PictureFinder
from edgefr.types import FACE_SIZE, Faces, Image


@dataclass(frozen=True)
class FaceFolder:
    """A collection of pictures. Threads and forked or spawned processes can all read from one.

    Attributes:
        path: The folder or file.
        names: Names `person/picture.jpg`, always in the same order.
        read_bytes: Name -> bytes of the picture's file.
        file_of: Name -> path of the picture, if each picture is a file of its own.
        finder: What was left out when the pictures were listed.
    """

    path: Path
    names: Sequence[str]
    read_bytes: Callable[[str], bytes]
    file_of: Callable[[str], Path] | None = None
    finder: PictureFinder = field(default_factory=PictureFinder)

    def people(self) -> list[str]:
        """The person of every picture."""
        return [person_of(name) for name in self.names]

    def digest(self) -> str:
        """A SHA-256 that tells collections apart: of the file if it is one, of the names if it is a folder."""
        if self.path.is_file():
            return self.sha256
        return hashlib.sha256("\n".join(self.names).encode()).hexdigest()

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of a collection that is one file. It is kept, because the file can have hundreds of gigabytes."""
        return sha256_of(self.path)

    def new_names(self, rename: Callable[[str], str]) -> dict[str, str]:
        """Name -> the name that its picture gets.

        Raises:
            InvalidArgumentError: Several pictures would get the same one, because they differ only in their suffix.
        """
        names = {name: rename(name) for name in self.names}
        name, count = Counter(names.values()).most_common(1)[0]
        if count > 1:
            raise InvalidArgumentError(
                f"names in {self.path} that differ before their suffix",
                f"{count} that become {name}",
                "rename all but one",
            )
        return names

    def read(self, name: str, at_least: int | None = None) -> Image:
        """Decode one picture, upright.

        Args:
            name: Name of the picture.
            at_least: Pixels that the short side must keep, see `decode_picture`. Large JPEG files decode faster with
                it.

        Returns:
            (H, W, 3) uint8 RGB.

        Raises:
            UnreadableImageError: The picture is missing, too large, or cannot be decoded.
        """
        try:
            return decode_picture(self.read_bytes(name), name, at_least)
        except (EdgefrError, LookupError, ValueError, OSError) as error:
            fix = error.fix if isinstance(error, UnreadableImageError) else "remove or replace it"
            raise UnreadableImageError(
                f"a whole picture in {self.path}: {name}", _failure_reason(error), fix
            ) from error

    def read_faces(
        self,
        names: Sequence[str] | None = None,
        progress: Callable[[int], None] | None = None,
        fix: str = "align the pictures first with `edgefr data align`",
    ) -> Faces:
        """Decode aligned faces.

        Args:
            names: Names of the pictures. None means all.
            progress: Called with 1 for every face.
            fix: What the user can do about a picture of another size.

        Returns:
            (N, 112, 112, 3) uint8 RGB.

        Raises:
            EdgefrError: A picture is not 112x112 or cannot be read.
        """
        names = self.names if names is None else names
        faces = np.empty((len(names), FACE_SIZE, FACE_SIZE, 3), np.uint8)
        for index, name in enumerate(names):
            face = self.read(name)
            if face.shape != faces.shape[1:]:
                height, width = face.shape[:2]
                raise EdgefrError(f"aligned faces of 112x112 in {self.path}", f"{name} of {width}x{height}", fix)
            faces[index] = face
            if progress is not None:
                progress(1)
        return faces


def _failure_reason(error: Exception) -> str:
    """What was found instead of a picture, in the words of an error that reading it raised."""
    if isinstance(error, EdgefrError):
        return error.found
    if isinstance(error, LookupError):
        return "no picture of that name"
    return getattr(error, "strerror", None) or str(error)


def person_of(name: str) -> str:
    """The person that a picture shows: the name of the innermost folder in the picture's name."""
    return name.rpartition("/")[0].rpartition("/")[2]


def open_faces(path: Path) -> FaceFolder:
    """Open a collection of pictures.

    Args:
        path: A folder or zip of `person/picture.jpg`, a `.rec` with its `.idx` next to it, or a `.csv` list of
            `path,person`.

    Returns:
        The collection.

    Raises:
        EdgefrError: The path does not exist, is damaged, or holds no pictures.
    """
    finder = PictureFinder()
    if path.is_dir():
        found = (Path(entry).relative_to(path).as_posix() for entry in finder.find(str(path)))
        files = _Files(path, None)
        return _sorted_pictures(path, found, finder, files.read, files.path)
    if not path.is_file():
        raise InvalidArgumentError(f"faces in a folder, .zip, .rec or .csv at {path}", "nothing", "check the path")
    suffix = path.suffix.lower()
    if suffix == ".rec":
        records = RecordPictures(path)
        return FaceFolder(path, records.names, records.read)
    if suffix == ".csv":
        listed = read_list(path)
        files = _Files(path.parent, listed)
        return _sorted_pictures(path, listed, finder, files.read, files.path)
    pictures = ZipPictures(path)
    members = (name for name in pictures.names if not name.endswith("/"))
    found = (name for name in members if finder.accepts_member(name, partial(pictures.read_start, name)))
    return _sorted_pictures(path, found, finder, pictures.read)


@dataclass(frozen=True)
class _Files:
    """Pictures as files below `root`. `listed` maps names to paths, if they differ."""

    root: Path
    listed: dict[str, str] | None

    def path(self, name: str) -> Path:
        return self.root / (name if self.listed is None else self.listed[name])

    def read(self, name: str) -> bytes:
        path = self.path(name)
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise ValueError("something that is not a file")
        if status.st_size > MAX_PICTURE_BYTES:
            raise ValueError(f"more than {MAX_PICTURE_BYTES >> 20} MiB")
        return path.read_bytes()


def _sorted_pictures(
    path: Path,
    found: Iterable[str],
    finder: PictureFinder,
    read_bytes: Callable[[str], bytes],
    file_of: Callable[[str], Path] | None = None,
) -> FaceFolder:
    names = tuple(sorted(found))
    if not names:
        first = f"none. {finder.left_out[0].reason.rstrip('.')}" if finder.left_out else "none"
        raise InvalidArgumentError(f"pictures as Name/picture.jpg in {path}", first, "check the path")
    return FaceFolder(path, names, read_bytes, file_of, finder)
