"""People to enrol: photographs of patterns, a detector that finds their faces, and a verifier of the fake model."""

from __future__ import annotations

from concurrent.futures import Future
from pathlib import Path

import cv2
import numpy as np

from edgefr.detection.base import Detections, Face
from edgefr.gallery.crypto.key_wrapping import KeyFile, Secret
from edgefr.gallery.file_gallery import FileGallery
from edgefr.gallery.model_binding import ModelBinding
from edgefr.gallery.records import FaceSample
from edgefr.manifest import Manifest, QualityLimit, Threshold
from edgefr.recognition.recogniser import Recogniser, open_recogniser
from edgefr.recognition.verifier import Verifier
from edgefr.runtimes import FAKE
from edgefr.types import TEMPLATE, Floats, Image

DIM = 8
BINDING = ModelBinding("a model", "0" * 64, "stub", "as ever", "fp32", DIM)
NOBODY, TWO, TURNED, SMALL = 1, 2, 3, 4
"""Values of the first pixel of a photograph, by which the detector finds something else than one good face."""


class StubDetector:
    """Finds the landmarks of the template, shifted by (30, 20), unless the first pixel has one of the values above."""

    name = "stub"

    def detect(self, image: Image) -> Detections:
        kind = int(image[0, 0, 0])
        face = Face((30, 20, 112, 112), TEMPLATE + np.array([30, 20], np.float32), 0.9)
        if kind == NOBODY:
            return Detections.from_faces([])
        if kind == TWO:
            return Detections.from_faces([face, Face((0, 0, 100, 100), TEMPLATE.copy(), 0.8)])
        if kind == TURNED:
            face.landmarks[2, 0] += 20  # the nose, far to the side
        if kind == SMALL:
            face.landmarks[:] = TEMPLATE / 3
        return Detections.from_faces([face])


def photo(path: Path, person: int, picture: int = 0, kind: int = 0, blur: float = 0) -> Path:
    """Write a photograph of a person: the same rough pattern in every picture, with other noise."""
    rough = np.random.default_rng(person).integers(40, 216, (6, 6, 3), np.uint8)
    image = cv2.resize(rough, (200, 180), interpolation=cv2.INTER_CUBIC).astype(np.float32)
    image += np.random.default_rng([person, picture]).normal(0, 25, image.shape)
    image = np.clip(image, 0, 255).astype(np.uint8)
    if blur:
        image = cv2.GaussianBlur(image, (0, 0), blur)
    image[:4, :4] = kind
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    return path


def thresholds(*rates_and_values: tuple[float, float]) -> tuple[Threshold, ...]:
    return tuple(Threshold(fmr, value, (value, value), "a test") for fmr, value in rates_and_values)


def verifier(limits: tuple[Threshold, ...] = thresholds((1e-3, 0.5)), quality: QualityLimit | None = None) -> Verifier:
    ready: Future[Recogniser] = Future()
    ready.set_result(open_recogniser(FAKE))
    return Verifier(StubDetector(), ready, Manifest("onnx", "fake", thresholds=limits, quality=quality), FAKE)


def unit(seed: int, dim: int = DIM) -> Floats:
    vector = np.random.default_rng(seed).standard_normal(dim).astype(np.float32)
    return vector / np.linalg.norm(vector)


def sample(seed: int, source: str = "a.jpg", crop: bool = False) -> FaceSample:
    picture = np.random.default_rng(seed).integers(0, 256, (112, 112, 3), np.uint8) if crop else None
    return FaceSample(source, unit(seed), 20.0, -1.0, 2.5, picture)


def new_gallery(
    folder: Path, secret: Secret | None = None, binding: ModelBinding = BINDING
) -> tuple[FileGallery, Secret]:
    secret = secret or KeyFile.create(folder / "key")
    return FileGallery.create(folder / "people.gallery", secret, binding), secret
