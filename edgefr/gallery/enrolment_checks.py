"""Quality checks of photographs for enrolment: one person, near, sharp, and turned to the camera."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from edgefr.detection.base import Face
from edgefr.errors import NoFaceError, PoorFaceError, SeveralFacesError
from edgefr.recognition.alignment import align
from edgefr.recognition.pose import pose
from edgefr.recognition.quality import sharpness
from edgefr.recognition.verifier import EmbeddedFace, FoundFace, Verifier
from edgefr.types import Image

MIN_EYE_DISTANCE = 20.0
"""Pixels between the eyes. Such a face is about 50 pixels wide, and alignment enlarges it less than twofold."""
MIN_SHARPNESS = 1.5
"""Of `recognition.quality.sharpness`. Among 250 photographs of LFW, with faces of about 100 pixels, the lowest value is
1.56. After a Gaussian blur of 2 pixels half of them are below 1.26."""
MAX_YAW = 0.35
"""Distance of the nose from the middle of the eyes, in eye distances: 0 for a frontal face, above 0.5 for a half
profile. 4 % of LFW are above this limit."""
PITCH_RANGE = (0.3, 0.8)
"""Position of the nose between the eyes (0) and the mouth (1). LFW ranges from 0.43 to 0.69."""
MAX_BYSTANDER = 0.5
"""Largest width of a second face, as a share of the first. A wider one could be the person who is enrolled."""
MAX_BYSTANDER_OF_CENTRAL = 0.75
"""The same if the widest face is central. Of 4,000 photographs of LFW (people of folds 1 to 5, detector `spot`), 763
show several faces. With MAX_BYSTANDER alone 594 of them are refused, with this limit 200. Of the accepted ones, 447
could be checked with another image of the person: the widest face was never somebody else's (at most 0.7 %)."""
CENTRE = (0.2, 0.25)
"""How far from the middle the centre of a central face may be, as a share of the width and height of the photograph."""


def single_face(source: str, faces: Sequence[Face], shape: tuple[int, int] | None = None) -> Face:
    """The face of the person to enrol.

    Args:
        source: The photograph or camera, for errors.
        faces: The detected faces.
        shape: Height and width of the photograph in pixels. None does not consider which face is central.

    Returns:
        The widest face. Narrow faces of bystanders are ignored, and wider ones if the widest face is central.

    Raises:
        NoFaceError: There is no face.
        SeveralFacesError: A second face is too wide for a bystander.
    """
    by_width = sorted(faces, key=lambda face: -face.box[2])
    if not by_width:
        raise NoFaceError(f"one face in {source}", "none", "give a photograph of a face turned to the camera")
    widest, *others = by_width
    if others:
        central = shape is not None and is_central(widest, others, shape)
        check_alone(source, others[0].box[2] / widest.box[2], central)
    return widest


def is_central(face: Face, others: Sequence[Face], shape: tuple[int, int]) -> bool:
    """Whether a face is in the middle of a photograph, and nearer to its centre than all others.

    Args:
        face: The face.
        others: The other faces.
        shape: Height and width of the photograph in pixels.
    """
    height, width = shape
    (x, y), *rest = (
        (one.box[0] + one.box[2] / 2 - width / 2, one.box[1] + one.box[3] / 2 - height / 2) for one in (face, *others)
    )
    nearest = all(math.hypot(x, y) < math.hypot(*other) for other in rest)
    return nearest and abs(x) <= CENTRE[0] * width and abs(y) <= CENTRE[1] * height


def crop_for_enrolment(source: str, photo: Image, face: Face) -> FoundFace:
    """Check and align a face for enrolment.

    Args:
        source: The photograph or camera, for errors.
        photo: (H, W, 3) uint8 RGB.
        face: A face in it.

    Returns:
        The face with its aligned crop.

    Raises:
        PoorFaceError: The face is too small, turned away or blurred.
    """
    check_pose(source, face)
    crop = align(photo, face.landmarks)
    check_sharpness(source, sharpness(crop))
    return FoundFace(source, face, crop)


def check_alone(source: str, width: float, central: bool = False) -> None:
    """Check that the second face of a photograph is a bystander's.

    Args:
        source: The photograph or camera, for errors.
        width: Width of the second widest face, as a share of the widest; 0 without one.
        central: Whether the widest face is central, see `is_central`.

    Raises:
        SeveralFacesError: It is too wide.
    """
    if width > (MAX_BYSTANDER_OF_CENTRAL if central else MAX_BYSTANDER):
        raise SeveralFacesError(
            f"one face in {source}", "two of similar size", "crop it to one person, or select one with --face"
        )


def check_pose(source: str, face: Face) -> None:
    """Check that a face is large enough and turned to the camera.

    Args:
        source: The photograph or camera, for errors.
        face: The face.

    Raises:
        PoorFaceError: It is not.
    """
    eyes = float(np.linalg.norm(face.landmarks[1] - face.landmarks[0]))
    if eyes < MIN_EYE_DISTANCE:
        raise PoorFaceError(
            f"a face with {MIN_EYE_DISTANCE:.0f} pixels between the eyes in {source}", f"{eyes:.0f}", "move closer"
        )
    yaw, pitch = pose(face)
    if abs(yaw) > MAX_YAW or not PITCH_RANGE[0] <= pitch <= PITCH_RANGE[1]:
        raise PoorFaceError(f"a face turned to the camera in {source}", "one turned away", "face the camera")


def check_sharpness(source: str, value: float) -> None:
    """Check that a face is not blurred.

    Args:
        source: The photograph or camera, for errors.
        value: Sharpness of the aligned face.

    Raises:
        PoorFaceError: It is blurred.
    """
    if value < MIN_SHARPNESS:
        raise PoorFaceError(
            f"a face of sharpness {MIN_SHARPNESS} in {source}",
            f"a blurred one of {value:.2f}",
            "hold still in better light",
        )


def check_quality(verifier: Verifier, face: EmbeddedFace) -> None:
    """Check a face against the quality limit of the model, if it has one.

    Args:
        verifier: The model.
        face: The face.

    Raises:
        PoorFaceError: It is below the limit.
    """
    for warning in verifier.quality_warnings([face]) or ():
        raise PoorFaceError("", warning, "give a clearer photograph")
