"""Frames of patterns instead of faces, a detector that finds them, and a gallery of them."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from edgefr.camera.base import Frame
from edgefr.detection.base import Detections, Face
from edgefr.gallery.crypto.key_wrapping import NoSecret
from edgefr.gallery.file_gallery import FileGallery
from edgefr.gallery.model_binding import ModelBinding
from edgefr.gallery.records import FaceSample
from edgefr.recognition.verifier import FoundFace, Verifier
from edgefr.types import TEMPLATE, Image

GROUND = 7
"""Grey value of an empty frame, which no pattern has."""


class PatchDetector:
    """Finds every pattern on the even ground."""

    name = "stub"

    def detect(self, image: Image) -> Detections:
        covered = (image != GROUND).any(2).astype(np.uint8)
        _, _, boxes, _ = cv2.connectedComponentsWithStats(covered)
        faces = []
        for x, y, width, height, _ in boxes[1:].tolist():
            scale = width / 112
            faces.append(Face((x, y, width, height), (TEMPLATE * scale + np.array([x, y])).astype(np.float32), 0.9))
        return Detections.from_faces(faces)


def pattern(person: int, picture: int = 0) -> Image:
    """The face of a person, (112, 112, 3): the same coarse pattern in every picture, with different noise."""
    coarse = np.random.default_rng(person).integers(40, 216, (6, 6, 3), np.uint8)
    image = cv2.resize(coarse, (112, 112), interpolation=cv2.INTER_CUBIC).astype(np.float32)
    image += np.random.default_rng([person, picture]).normal(0, 12, image.shape)
    return np.clip(image, GROUND + 1, 255).astype(np.uint8)


def frame(at: float, *people: tuple[int, int, int], size: tuple[int, int] = (240, 480)) -> Frame:
    """A frame with people, each given as (person, x, y)."""
    image = np.full((*size, 3), GROUND, np.uint8)
    for person, x, y in people:
        image[y : y + 112, x : x + 112] = pattern(person, round(1000 * at))
    return Frame(image, at)


def enrolled(path: Path, verifier: Verifier, people: dict[str, int]) -> FileGallery:
    """An unencrypted gallery of people, given as name -> person."""
    gallery = FileGallery.create(path, NoSecret(), ModelBinding.of(verifier))
    for name, person in people.items():
        face = PatchDetector().detect(frame(0, (person, 10, 10)).image)[0]
        (embedded,) = verifier.embed([FoundFace("pattern", face, pattern(person, 9))])
        gallery.enrol(name, [FaceSample("pattern", embedded.embedding, embedded.norm, embedded.uncertainty, 2.0)])
    return gallery
