"""Align a collection of photographs, for training and evaluation."""

from __future__ import annotations

import zipfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import cv2

from edgefr.data.collections import FaceFolder
from edgefr.detection.base import Detector, FacePolicy, select_face
from edgefr.errors import ImageError, InvalidArgumentError, NoFaceError
from edgefr.io.files import atomic_write
from edgefr.recognition.alignment import align
from edgefr.types import Image

JPEG_SUFFIXES = {".jpg", ".jpeg", ".jfif"}
JPEG_QUALITY = 95
"""Out of 100. The faces are compressed a second time, which should not be visible."""
MIN_SHORT_SIDE = 2048
"""A large JPEG is decoded at a reduced size with at least this short side in pixels: twice the input of a detector, so
that small faces stay sharp."""


@dataclass(frozen=True)
class Alignment:
    """Number of faces that were written, and the photographs that were left out with the reasons."""

    faces: int
    left_out: dict[str, str]


def align_faces(
    folder: FaceFolder, detector: Detector, policy: FacePolicy, output: Path, on_progress: Callable[[int], None]
) -> Alignment:
    """Write the aligned face of every photograph to a zip file, as 112x112 JPEG.

    A face has the name of its photograph, with the suffix .jpg. The same photographs give the same file.

    Args:
        folder: The photographs.
        detector: Finds the faces.
        policy: Which of several faces to take.
        output: The zip file.
        on_progress: Called with 1 after each photograph.

    Returns:
        Number of faces, and the photographs that were left out.

    Raises:
        NoFaceError: No photograph has a usable face.
        InvalidArgumentError: Two names differ only in their suffixes.
        EdgefrError: The file cannot be written.
    """
    names = _jpeg_names(folder)
    left_out: dict[str, str] = {}
    with atomic_write(output) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for name in folder.names:
            try:
                face = _align(folder, name, detector, policy)
            except ImageError as error:
                left_out[name] = str(error)
            else:
                archive.writestr(_zip_entry(names[name]), _encode_jpeg(face))
            on_progress(1)
        if len(left_out) == len(folder.names):
            raise NoFaceError(
                "",
                f"None of {len(left_out)} photographs in {folder.path} has a usable face; the first one: "
                f"{left_out[folder.names[0]].rstrip('.')}",
                "give photographs of faces turned to the camera",
            )
    return Alignment(len(folder.names) - len(left_out), left_out)


def _align(folder: FaceFolder, name: str, detector: Detector, policy: FacePolicy) -> Image:
    photo = folder.read(name, MIN_SHORT_SIDE)
    height, width = photo.shape[:2]
    return align(photo, select_face(detector.detect(photo), (height, width), policy, name).landmarks)


def _zip_entry(name: str) -> zipfile.ZipInfo:
    """Uncompressed, because JPEG does not shrink, and without a date, so that the file depends on its pictures only."""
    entry = zipfile.ZipInfo(name)
    entry.external_attr = 0o644 << 16  # without it unpacked files may not be readable
    return entry


def _encode_jpeg(face: Image) -> bytes:
    _, encoded = cv2.imencode(".jpg", cv2.cvtColor(face, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    return encoded.tobytes()


def _jpeg_names(folder: FaceFolder) -> dict[str, str]:
    """Name of each photograph -> name in the zip file."""
    paths = {name: PurePosixPath(name) for name in folder.names}
    names = {
        name: name if path.suffix.lower() in JPEG_SUFFIXES else str(path.with_suffix(".jpg"))
        for name, path in paths.items()
    }
    name, count = Counter(names.values()).most_common(1)[0]
    if count > 1:
        raise InvalidArgumentError(
            f"names in {folder.path} that differ before their suffixes",
            f"{count} that become {name}",
            "rename all but one",
        )
    return names
