"""Collections of aligned faces: a folder, or a zip, of `Name/picture.jpg`."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from edgefr.errors import EdgefrError
from edgefr.spec import FACE_SIZE, Faces, Image

SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".webp"}
MAX_PICTURE_BYTES = 32 << 20


@dataclass(frozen=True)
class FaceFolder:
    """Names of pictures (`Name/Name_0001.jpg`), in sorted order, and a way to read each."""

    path: Path
    names: tuple[str, ...]
    read_bytes: Callable[[str], bytes]

    def people(self) -> list[str]:
        """The person of every picture: the name of its folder."""
        return [name.rpartition("/")[0] for name in self.names]

    def read(self, name: str) -> Image:
        """Decode one picture to (H, W, 3) uint8 RGB.

        Raises:
            EdgefrError: the picture is not there, too large, or cannot be decoded.
        """
        encoded = np.frombuffer(self.read_bytes(name), np.uint8)
        decoded = cv2.imdecode(encoded, cv2.IMREAD_COLOR) if encoded.size else None
        if decoded is None:
            raise EdgefrError(f"expected a picture in {self.path}: {name}, found none: remove or replace it")
        return np.ascontiguousarray(decoded[..., ::-1])

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


def open_faces(path: Path) -> FaceFolder:
    """List the pictures of a folder of folders or of a zip of folders.

    Raises:
        EdgefrError: nothing is there, the zip is damaged, or it holds no pictures.
    """
    if path.is_dir():
        found = (entry.relative_to(path).as_posix() for entry in path.rglob("*"))
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
    names = tuple(sorted(name for name in found if Path(name).suffix.lower() in SUFFIXES))
    if not names:
        raise EdgefrError(f"expected pictures as Name/picture.jpg in {path}, found none: check the path")
    return FaceFolder(path, names, read_bytes)
