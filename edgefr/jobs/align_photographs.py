"""From a collection of photographs to a collection of aligned faces, ready for training and evaluation."""

from __future__ import annotations

import zipfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import cv2

from edgefr.data.collections import FaceFolder
from edgefr.detection.base import Detector, FacePolicy, select_face
from edgefr.errors import EdgefrError, ImageError
from edgefr.io.files import atomic_write
from edgefr.recognition.alignment import align
from edgefr.types import Image

JPEG_SUFFIXES = {".jpg", ".jpeg", ".jfif"}
QUALITY = 95
"""Of the JPEG files, out of 100: faces are compressed a second time here, and should not show it."""

ENOUGH = 2048
"""Short side in pixels that a large JPEG keeps: twice what a detector looks at, so that small faces stay sharp."""


@dataclass(frozen=True)
class Alignment:
    """How many faces were written, and for every photograph that was left out, by name, the reason."""

    faces: int
    left_out: dict[str, str]


def align_faces(
    folder: FaceFolder, detector: Detector, policy: FacePolicy, output: Path, advance: Callable[[int], None]
) -> Alignment:
    """Write the aligned face of every photograph to the zip `output`, 112x112 JPEG, under the photograph's name.

    A name that ends otherwise gets `.jpg` for its suffix. The zip is the same for the same photographs.

    Raises:
        EdgefrError: no photograph has a usable face, two names differ only by their suffix, or `output` cannot
            be written.
    """
    names = _jpeg_names(folder)
    left_out: dict[str, str] = {}
    with atomic_write(output) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for name in folder.names:
            try:
                face = _aligned(folder, name, detector, policy)
            except ImageError as error:
                left_out[name] = str(error)
            else:
                archive.writestr(_member(names[name]), _jpeg(face))
            advance(1)
        if len(left_out) == len(folder.names):
            raise EdgefrError(
                f"a usable face in at least one of {len(left_out)} photographs in {folder.path}",
                "none (the first",
                f"{left_out[folder.names[0]]}): give photographs of faces turned to the camera",
            )
    return Alignment(len(folder.names) - len(left_out), left_out)


def _aligned(folder: FaceFolder, name: str, detector: Detector, policy: FacePolicy) -> Image:
    photo = folder.read(name, ENOUGH)
    height, width = photo.shape[:2]
    return align(photo, select_face(detector.detect(photo), (height, width), policy, name).landmarks)


def _member(name: str) -> zipfile.ZipInfo:
    """Stored, for JPEG files do not shrink; without a date, so that the zip depends on nothing but its pictures."""
    member = zipfile.ZipInfo(name)
    member.external_attr = 0o644 << 16  # or unpacked files may not be read
    return member


def _jpeg(face: Image) -> bytes:
    _, encoded = cv2.imencode(".jpg", cv2.cvtColor(face, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    return encoded.tobytes()


def _jpeg_names(folder: FaceFolder) -> dict[str, str]:
    """The name in the zip for every name in `folder`."""
    paths = {name: PurePosixPath(name) for name in folder.names}
    names = {
        name: name if path.suffix.lower() in JPEG_SUFFIXES else str(path.with_suffix(".jpg"))
        for name, path in paths.items()
    }
    name, count = Counter(names.values()).most_common(1)[0]
    if count > 1:
        raise EdgefrError(
            f"names in {folder.path} that differ before their suffix",
            f"{count} that become {name}",
            "rename all but one",
        )
    return names
