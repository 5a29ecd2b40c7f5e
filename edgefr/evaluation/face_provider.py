"""Gets the faces of a collection's pictures for evaluation and calibration: as they are, or with a detector."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgefr.choices import FacePolicy
from edgefr.data.collections import FaceFolder
from edgefr.data.degradations import degrade
from edgefr.detection.base import Detector, Face, select_face
from edgefr.detection.detector_registry import DETECTOR_VARIABLE, open_detector
from edgefr.errors import NoFaceError, SeveralFacesError
from edgefr.evaluation.protocols import CLEAN, CropReader, FaceCrop, aligned_crops, degraded_crops
from edgefr.recognition.alignment import align, similarity_transform
from edgefr.recognition.quality import sharpness
from edgefr.types import FACE_SIZE, TEMPLATE, Image

SIGNALS = {"sharpness": sharpness}


@dataclass(frozen=True)
class FaceProvider:
    """Finds faces with a detector, if there is one. Pictures of 112x112 count as aligned faces.

    Attributes:
        detector: The detector, or None if all pictures are aligned faces.
        policy: Which of several faces to take.
    """

    detector: Detector | None
    policy: FacePolicy

    @classmethod
    def open(cls, detector: Path | None, policy: FacePolicy) -> FaceProvider:
        """Open the detector in this file, or the one in $EDGEFR_DETECTOR; without either there is no detector.

        Raises:
            EdgefrError: The file is not a detector.
        """
        named = detector is not None or DETECTOR_VARIABLE in os.environ
        return cls(open_detector(detector) if named else None, policy)

    def crops_of(self, folder: FaceFolder) -> CropReader:
        """A reader of a collection's faces. It degrades a photograph as a whole, before detection."""
        if self.detector is None:
            return aligned_crops(folder, SIGNALS)
        detector = self.detector

        def read_crops(name: str, wanted: Sequence[str]) -> list[FaceCrop | None]:
            photo = folder.read(name)
            if photo.shape[:2] == (FACE_SIZE, FACE_SIZE):
                return degraded_crops(lambda _: photo, SIGNALS)(name, wanted)
            face = self._find(detector, photo, name)
            if face is None:  # a photograph is degraded in proportion to its face
                return [None] * len(wanted)
            scale = 1 / float(np.hypot(*similarity_transform(face.landmarks, TEMPLATE)[:, 0]))

            def render(rendering: str) -> FaceCrop | None:
                if rendering == CLEAN:
                    return _crop(photo, face)
                degraded = degrade(photo, rendering, name, scale)
                found = self._find(detector, degraded, name)
                return None if found is None else _crop(degraded, found)

            return [render(rendering) for rendering in wanted]

        return read_crops

    def _find(self, detector: Detector, photo: Image, name: str) -> Face | None:
        """The selected face, None if there is none that can be aligned: a failure to acquire."""
        try:
            face = select_face(detector.detect(photo), photo.shape[:2], self.policy, name)
            similarity_transform(face.landmarks, TEMPLATE)
        except (NoFaceError, SeveralFacesError):
            return None
        return face


def _crop(photo: Image, face: Face) -> FaceCrop:
    aligned = align(photo, face.landmarks)
    return FaceCrop(aligned, {"sharpness": sharpness(aligned), "detector": face.score})
