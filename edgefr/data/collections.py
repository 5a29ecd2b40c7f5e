"""Collections of faces, whatever they lie in: one picture at a time, by name, in any process."""

from __future__ import annotations

import hashlib
import stat
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from edgefr.data.csv_list import read_list
from edgefr.data.recordio import RecordPictures
from edgefr.data.zip_archive import ZipPictures
from edgefr.errors import EdgefrError, UnreadableImageError
from edgefr.io.files import sha256_of
from edgefr.io.jpeg import MAX_PICTURE_BYTES as MAX_PICTURE_BYTES
from edgefr.io.jpeg import decode_picture
from edgefr.io.picture_header import PICTURE_SUFFIXES
from edgefr.types import FACE_SIZE, Faces, Image


@dataclass(frozen=True)
class FaceFolder:
    """Names of pictures, `person/picture.jpg`, in an order that is always the same, and a way to read each.

    `file_of` gives the file of a name, where each picture is one.
    Threads and forked or spawned processes may all read from one.
    """

    path: Path
    names: Sequence[str]
    read_bytes: Callable[[str], bytes]
    file_of: Callable[[str], Path] | None = None

    def people(self) -> list[str]:
        """The person of every picture."""
        return [person_of(name) for name in self.names]

    def digest(self) -> str:
        """Tells the collection from others: the SHA-256 of the one file it is, or of the names in a folder."""
        if self.path.is_file():
            return self.sha256
        return hashlib.sha256("\n".join(self.names).encode()).hexdigest()

    @cached_property
    def sha256(self) -> str:
        """Of the one file that the collection is; read through once, for it may be of hundreds of gigabytes."""
        return sha256_of(self.path)

    def read(self, name: str, at_least: int | None = None) -> Image:
        """Decode one picture to (H, W, 3) uint8 RGB, upright.

        Large JPEG files come faster and smaller where a short side of `at_least` pixels is enough.

        Raises:
            EdgefrError: the picture is not there, too large, or cannot be decoded.
        """
        try:
            return decode_picture(self.read_bytes(name), name, at_least)
        except (EdgefrError, LookupError, ValueError, OSError) as error:
            raise UnreadableImageError(
                f"a whole picture in {self.path}: {name}", found_in(error), "remove or replace it"
            ) from error

    def read_faces(self, names: Sequence[str] | None = None, progress: Callable[[int], None] | None = None) -> Faces:
        """Decode aligned faces to (N, 112, 112, 3) uint8 RGB; `progress` is told of every face.

        Raises:
            EdgefrError: a picture is not 112x112.
        """
        names = self.names if names is None else names
        faces = np.empty((len(names), FACE_SIZE, FACE_SIZE, 3), np.uint8)
        for index, name in enumerate(names):
            face = self.read(name)
            if face.shape != faces.shape[1:]:
                raise EdgefrError(
                    f"aligned faces of 112x112 in {self.path}",
                    f"{name} of {face.shape[1]}x{face.shape[0]}",
                    "align the pictures first with `edgefr data align`",
                )
            faces[index] = face
            if progress is not None:
                progress(1)
        return faces


def found_in(error: Exception) -> str:
    """What was found instead of a picture, in the words of who found it."""
    if isinstance(error, EdgefrError):
        return error.found
    if isinstance(error, LookupError):
        return "no picture of that name"
    return getattr(error, "strerror", None) or str(error)


def person_of(name: str) -> str:
    """The person a picture shows: the name of the folder it lies in, wherever that folder lies."""
    return name.rpartition("/")[0].rpartition("/")[2]


def open_faces(path: Path) -> FaceFolder:
    """List the pictures of a folder or zip of `person/picture.jpg`, of a `.rec` with its `.idx` beside it, or of a
    CSV list of `path,person`.

    Raises:
        EdgefrError: nothing is there, it is damaged, or it holds no pictures.
    """
    if path.is_dir():
        found = (entry.relative_to(path).as_posix() for entry in path.rglob("*") if entry.is_file())
        files = Files(path, None)
        return _named(path, found, files.read, files.path)
    if not path.is_file():
        raise EdgefrError(f"faces in a folder, .zip, .rec or .csv at {path}", "nothing", "check the path")
    suffix = path.suffix.lower()
    if suffix == ".rec":
        records = RecordPictures(path)
        return FaceFolder(path, records.names, records.read)
    if suffix == ".csv":
        listed = read_list(path)
        files = Files(path.parent, listed)
        return _named(path, listed, files.read, files.path)
    pictures = ZipPictures(path)
    return _named(path, pictures.names, pictures.read)


@dataclass(frozen=True)
class Files:
    """Pictures as files below `root`; `listed` gives the path of a name where that is another."""

    root: Path
    listed: dict[str, str] | None

    def path(self, name: str) -> Path:
        """Where a picture lies; KeyError where none of that name is listed."""
        return self.root / (name if self.listed is None else self.listed[name])

    def read(self, name: str) -> bytes:
        """The bytes of a picture.

        Raises:
            KeyError, OSError: there is none of that name.
            ValueError: it is no file, or too large.
        """
        path = self.path(name)
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise ValueError("something that is no file")
        if status.st_size > MAX_PICTURE_BYTES:
            raise ValueError(f"more than {MAX_PICTURE_BYTES >> 20} MiB")
        return path.read_bytes()


def _named(
    path: Path,
    found: Iterable[str],
    read_bytes: Callable[[str], bytes],
    file_of: Callable[[str], Path] | None = None,
) -> FaceFolder:
    # Archives made on a Mac hold a shadow `._picture.jpg` of every picture.
    pictures = (name for name in found if Path(name).suffix.lower() in PICTURE_SUFFIXES)
    names = tuple(sorted(name for name in pictures if not Path(name).name.startswith("._")))
    if not names:
        raise EdgefrError(f"pictures as Name/picture.jpg in {path}", "none", "check the path")
    return FaceFolder(path, names, read_bytes, file_of)
