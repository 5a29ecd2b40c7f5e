"""Embedding many photographs: find them, embed them in batches, write one .npz."""

from __future__ import annotations

import glob
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgefr.detection.base import FacePolicy
from edgefr.errors import EdgefrError, ImageError
from edgefr.io.files import atomic_write
from edgefr.io.picture_header import PICTURE_SUFFIXES
from edgefr.recognition.verifier import EmbeddedFace, FoundFace, Verifier


@dataclass(frozen=True)
class RejectedImage:
    """A photograph that was left out, and why."""

    path: str
    reason: str


def list_photographs(arguments: Sequence[str]) -> list[Path]:
    """Files as they are, folders as the pictures below them, globs as what they match; each once, in order.

    Raises:
        EdgefrError: a folder or glob holds no pictures.
    """
    photos: dict[Path, Path] = {}
    for argument in arguments:
        path = Path(argument)
        if path.is_dir():
            found = sorted(
                entry for entry in path.rglob("*") if entry.suffix.lower() in PICTURE_SUFFIXES and entry.is_file()
            )
        elif path.exists() or not glob.has_magic(argument):
            found = [path]  # a file that is missing is refused by name when it is read
        else:
            found = sorted(Path(name) for name in glob.glob(argument, recursive=True) if Path(name).is_file())  # noqa: PTH207
        if not found:
            raise EdgefrError(f"photographs in {argument}", "none", "check the path")
        for photo in found:
            photos.setdefault(photo.resolve(), photo)
    return list(photos.values())


def embed_photographs(
    verifier: Verifier, photos: Sequence[Path], policy: FacePolicy, batch: int, advance: Callable[[int], None]
) -> tuple[list[EmbeddedFace], list[RejectedImage]]:
    """Faces of all photographs that have a usable one, and the others with the reason."""
    faces: list[EmbeddedFace] = []
    refused: list[RejectedImage] = []
    waiting: list[FoundFace] = []
    for path in photos:
        try:
            waiting.append(verifier.find(path, policy))
        except ImageError as error:
            refused.append(RejectedImage(str(path), str(error)))
        if len(waiting) == batch:
            faces += verifier.embed(waiting, batch)
            waiting = []
        advance(1)
    return faces + (verifier.embed(waiting, batch) if waiting else []), refused


def save_npz(output: Path, faces: Sequence[EmbeddedFace]) -> None:
    """`path` (N,), `embedding` (N, K), `norm` (N,), `uncertainty` (N,), `box` (N, 4), `landmarks` (N, 5, 2).

    `uncertainty` is NaN where the model gives none.
    """
    uncertainty = [np.nan if face.uncertainty is None else face.uncertainty for face in faces]
    with atomic_write(output) as temporary:
        np.savez(
            temporary,
            path=np.array([face.source for face in faces]),
            embedding=np.stack([face.embedding for face in faces]),
            norm=np.array([face.norm for face in faces], np.float32),
            uncertainty=np.array(uncertainty, np.float32),
            box=np.array([face.face.box for face in faces], np.float32),
            landmarks=np.stack([face.face.landmarks for face in faces]).astype(np.float32),
        )
