"""Collections of aligned faces: a folder, or a zip, of `Name/picture.jpg`."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from edgefr.errors import EdgefrError
from edgefr.picture_header import PICTURE_SUFFIXES, read_header
from edgefr.spec import FACE_SIZE, Faces, Image

MAX_PICTURE_BYTES = 32 << 20
MAX_PIXELS = 16_000_000
"""More than any aligned face or protocol's photograph has."""


@dataclass(frozen=True)
class FaceFolder:
    """Names of pictures (`Name/Name_0001.jpg`), in sorted order, and a way to read each."""

    path: Path
    names: tuple[str, ...]
    read_bytes: Callable[[str], bytes]

    def people(self) -> list[str]:
        """The person of every picture."""
        return [person_of(name) for name in self.names]

    def read(self, name: str) -> Image:
        """Decode one picture to (H, W, 3) uint8 RGB.

        Raises:
            EdgefrError: the picture is not there, too large, or cannot be decoded.
        """
        try:
            encoded = self.read_bytes(name)
            header = read_header(encoded, name)
            if header.width * header.height > MAX_PIXELS:
                raise ValueError(f"{header.width}x{header.height} pixels")
            decoded = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_COLOR)
            if decoded is None:
                raise ValueError("one that cannot be decoded")
        except (EdgefrError, ValueError, OSError, RuntimeError, zipfile.BadZipFile, zlib.error, cv2.error) as error:
            reason = str(error).rpartition("found ")[2].partition(": ")[0]
            raise EdgefrError(
                f"expected a whole picture in {self.path}: {name}, found {reason}: remove or replace it"
            ) from error
        return np.ascontiguousarray(np.asarray(decoded)[..., ::-1])

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
                    f"expected aligned faces of 112x112 in {self.path}, found {name} of "
                    f"{face.shape[1]}x{face.shape[0]}: align the pictures first"
                )
            faces[index] = face
            if progress is not None:
                progress(1)
        return faces


def person_of(name: str) -> str:
    """The person a picture shows: the name of the folder it lies in, wherever that folder lies."""
    return name.rpartition("/")[0].rpartition("/")[2]


def open_faces(path: Path) -> FaceFolder:
    """List the pictures of a folder of folders or of a zip of folders.

    Raises:
        EdgefrError: nothing is there, the zip is damaged, or it holds no pictures.
    """
    if path.is_dir():
        found = (entry.relative_to(path).as_posix() for entry in path.rglob("*") if entry.is_file())
        return _folder(path, found, lambda name: (path / name).read_bytes())
    if not path.is_file():
        raise EdgefrError(f"expected faces in a folder or zip at {path}, found nothing: check the path")
    try:
        archive = zipfile.ZipFile(path)
    except zipfile.BadZipFile as error:
        raise EdgefrError(f"expected a zip of faces in {path}, found another file ({error}): check the path") from error

    def read_member(name: str) -> bytes:
        if archive.getinfo(name).file_size > MAX_PICTURE_BYTES:
            raise EdgefrError(
                f"expected pictures of at most {MAX_PICTURE_BYTES >> 20} MiB in {path}, found a larger one, {name}: "
                "remove it"
            )
        return archive.read(name)

    return _folder(path, archive.namelist(), read_member)


def _folder(path: Path, found: Iterable[str], read_bytes: Callable[[str], bytes]) -> FaceFolder:
    # Archives made on a Mac hold a shadow `._picture.jpg` of every picture.
    pictures = (name for name in found if Path(name).suffix.lower() in PICTURE_SUFFIXES)
    names = tuple(sorted(name for name in pictures if not Path(name).name.startswith("._")))
    if not names:
        raise EdgefrError(f"expected pictures as Name/picture.jpg in {path}, found none: check the path")
    return FaceFolder(path, names, read_bytes)
