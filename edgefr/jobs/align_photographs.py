"""Makes a collection of aligned faces, for training and evaluation, from a collection of photographs."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import cv2

from edgefr.choices import FacePolicy
from edgefr.data.collections import FaceFolder
from edgefr.detection.base import Detector, select_face
from edgefr.errors import ImageError, NoFaceError
from edgefr.io.files import atomic_write
from edgefr.io.picture_files import JPEG_SUFFIXES
from edgefr.recognition.alignment import align
from edgefr.types import Image

QUALITY = 95
"""JPEG quality of the faces, which are compressed a second time here and should not look like it."""

ENOUGH = 2048
"""Short side in pixels that a large JPEG keeps: twice what a detector needs, so that small faces stay sharp."""


@dataclass(frozen=True)
class Alignment:
    """The result of `align_faces`.

    Attributes:
        faces: Number of faces written.
        left_out: Name or path -> reason, for every photograph without a usable face, and for what could not be listed.
    """

    faces: int
    left_out: dict[str, str]


def align_faces(
    folder: FaceFolder, detector: Detector, policy: FacePolicy, output: Path, progress: Callable[[int], None]
) -> Alignment:
    """Write the aligned face of every photograph to a zip. The same photographs give the same zip, byte for byte.

    Args:
        folder: The photographs.
        detector: Finds the faces.
        policy: Which of several faces to take.
        output: The zip to write: JPEG files of 112x112 under the names of the photographs, with the suffix `.jpg`
            instead of one of another format.
        progress: Called with 1 for every photograph.

    Returns:
        The number of faces, and the photographs that were left out.

    Raises:
        NoFaceError: No photograph has a usable face.
        InvalidArgumentError: Two names differ only in their suffix.
        UnavailableError: The zip cannot be written.
    """
    names = folder.new_names(_jpeg_name)
    unlisted = {image.path: image.reason for image in folder.finder.left_out}
    left_out: dict[str, str] = {}
    with atomic_write(output, private=True) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for name in folder.names:
            try:
                face = _align(folder, name, detector, policy)
            except ImageError as error:
                left_out[name] = str(error)
            else:
                archive.writestr(zip_member(names[name]), _encode_jpeg(face))
            progress(1)
        if len(left_out) == len(folder.names):
            raise NoFaceError(
                f"a usable face in at least one of {len(left_out)} photographs in {folder.path}",
                f"none. The first one: {left_out[folder.names[0]].rstrip('.')}",
                "give photographs of faces turned to the camera",
            )
    return Alignment(len(folder.names) - len(left_out), {**left_out, **unlisted})


def _align(folder: FaceFolder, name: str, detector: Detector, policy: FacePolicy) -> Image:
    photo = folder.read(name, ENOUGH)
    height, width = photo.shape[:2]
    return align(photo, select_face(detector.detect(photo), (height, width), policy, name).landmarks)


def zip_member(name: str) -> zipfile.ZipInfo:
    """A member without compression, which JPEG does not need, and without a date, so that the zip stays the same."""
    member = zipfile.ZipInfo(name)
    member.external_attr = 0o644 << 16  # otherwise unpacked files cannot be read
    return member


def _encode_jpeg(face: Image) -> bytes:
    _, encoded = cv2.imencode(".jpg", cv2.cvtColor(face, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    return encoded.tobytes()


def _jpeg_name(name: str) -> str:
    """The name in the zip of a name in the folder."""
    path = PurePosixPath(name)
    return name if path.suffix.lower() in JPEG_SUFFIXES else str(path.with_suffix(".jpg"))
