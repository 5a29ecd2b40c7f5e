"""Embed many photographs: find them, embed them in batches, save an .npz file."""

from __future__ import annotations

import glob
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from edgefr.choices import FacePolicy
from edgefr.errors import ImageError, InvalidArgumentError
from edgefr.io.files import atomic_write
from edgefr.io.picture_files import PictureFinder, RejectedImage
from edgefr.recognition.parallel_finding import find_in_order
from edgefr.recognition.verifier import EmbeddedFace, FoundFace, Verifier


@dataclass(frozen=True)
class PhotographList:
    """Photographs that were found in files, folders and globs.

    Attributes:
        photographs: The photographs, each once.
        finder: What was left out of the folders.
    """

    photographs: list[Path]
    finder: PictureFinder


def find_photographs(arguments: Sequence[str]) -> PhotographList:
    """Find photographs.

    Args:
        arguments: Files, folders (all pictures below them) and globs.

    Returns:
        The photographs in this order, each once. A file that does not exist is listed, too: reading it gives the error.

    Raises:
        InvalidArgumentError: A folder or a glob has no pictures, nor anything that had to be left out.
    """
    photos: dict[Path, Path] = {}
    finder = PictureFinder()
    for argument in arguments:
        path, left_out = Path(argument), len(finder.left_out)
        if path.is_dir():
            found = sorted(map(Path, finder.find(str(path))))
        elif path.exists() or not glob.has_magic(argument):
            found = [path]
        else:
            found = sorted(Path(name) for name in glob.glob(argument, recursive=True) if Path(name).is_file())  # noqa: PTH207
        if not found and len(finder.left_out) == left_out:
            raise no_photographs(argument, finder)
        for photo in found:
            photos.setdefault(photo.resolve(), photo)
    return PhotographList(list(photos.values()), finder)


def list_photographs(arguments: Sequence[str]) -> list[Path]:
    """The photographs of `find_photographs`, for callers that do not report what is left out.

    Raises:
        InvalidArgumentError: There are none.
    """
    found = find_photographs(arguments)
    if not found.photographs and found.finder.left_out:
        reason = found.finder.left_out[0].reason.rstrip(".")
        raise InvalidArgumentError("photographs", f"none. The first that was left out: {reason}", "check the path")
    return found.photographs


def no_photographs(argument: str, finder: PictureFinder) -> InvalidArgumentError:
    """The error for a folder or a glob without any photographs."""
    others = finder.summary()
    return InvalidArgumentError(
        f"photographs in {argument}", f"none, but {others}" if others else "none", "check the path"
    )


def embed_photographs(
    verifier: Verifier,
    photos: Sequence[Path],
    policy: FacePolicy | Literal["all"],
    batch: int,
    on_progress: Callable[[int], None],
) -> tuple[list[EmbeddedFace], list[RejectedImage]]:
    """Embed photographs in batches.

    Args:
        verifier: Detector and recogniser.
        photos: The photographs.
        policy: Which of several faces to take; "all" takes all that are large enough, see `select_faces`.
        batch: Number of faces per call of the recogniser.
        on_progress: Called with 1 after each photograph.

    Returns:
        The faces in the order of the photographs, and the photographs without a usable face.

    Raises:
        EdgefrError: The model fails.
    """
    faces: list[EmbeddedFace] = []
    rejected: list[RejectedImage] = []
    pending: list[FoundFace] = []

    def find(finder: Verifier, path: Path) -> list[FoundFace]:
        return finder.find_all(path) if policy == "all" else [finder.find(path, policy)]

    with closing(find_in_order(verifier, photos, len(photos), find)) as finding:
        for path, found in zip(photos, finding, strict=True):
            if isinstance(found, ImageError):
                rejected.append(RejectedImage(str(path), str(found)))
            else:
                pending += found
            if len(pending) >= batch:
                faces += verifier.embed(pending, batch)
                pending = []
            on_progress(1)
    return faces + (verifier.embed(pending, batch) if pending else []), rejected


def save_npz(output: Path, faces: Sequence[EmbeddedFace]) -> None:
    """Save faces as an .npz file.

    The arrays are `path` (N,), `embedding` (N, K), `norm` (N,), `uncertainty` (N,), `box` (N, 4) and `landmarks`
    (N, 5, 2). `uncertainty` is NaN if the model gives none.

    Args:
        output: The file.
        faces: At least one face.
    """
    uncertainty = [np.nan if face.uncertainty is None else face.uncertainty for face in faces]
    with atomic_write(output, private=True) as temporary:
        np.savez(
            temporary,
            path=np.array([face.source for face in faces]),
            embedding=np.stack([face.embedding for face in faces]),
            norm=np.array([face.norm for face in faces], np.float32),
            uncertainty=np.array(uncertainty, np.float32),
            box=np.array([face.face.box for face in faces], np.float32),
            landmarks=np.stack([face.face.landmarks for face in faces]).astype(np.float32),
        )
