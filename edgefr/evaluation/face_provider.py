"""How `eval` and `calibrate` get the face out of a collection's picture: as it is, or with a detector."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgefr.data.collections import FaceFolder
from edgefr.data.degradations import degrade
from edgefr.detection.base import Detector, Face, FacePolicy, select_face
from edgefr.detection.registry import DETECTOR_VARIABLE, open_detector
from edgefr.errors import NoFaceError, SeveralFacesError
from edgefr.evaluation.protocols import CLEAN, FaceCrop, Find, aligned_only, degraded
from edgefr.recognition.alignment import align, similarity_transform
from edgefr.recognition.quality import sharpness
from edgefr.types import FACE_SIZE, TEMPLATE, Image

SIGNALS = {"sharpness": sharpness}


@dataclass(frozen=True)
class FaceProvider:
    """Finds faces with a `detector`, where there is one; pictures of 112x112 are aligned faces already."""

    detector: Detector | None
    policy: FacePolicy

    @classmethod
    def open(cls, detector: Path | None, policy: FacePolicy) -> FaceProvider:
        """With the detector in this file, else in $EDGEFR_DETECTOR, else without one.

        Raises:
            EdgefrError: the file holds no detector.
        """
        named = detector is not None or DETECTOR_VARIABLE in os.environ
        return cls(open_detector(detector) if named else None, policy)

    def within(self, folder: FaceFolder) -> Find:
        """What is seen in the folder's pictures; a photograph is made worse as a whole, before detection."""
        if self.detector is None:
            return aligned_only(folder, SIGNALS)
        detector = self.detector

        def find(name: str, wanted: Sequence[str]) -> list[FaceCrop | None]:
            photo = folder.read(name)
            if photo.shape[:2] == (FACE_SIZE, FACE_SIZE):
                return degraded(lambda _: photo, SIGNALS)(name, wanted)
            face = self._face(detector, photo, name)
            if face is None:  # how large it is has to be known to degrade it
                return [None] * len(wanted)
            scale = 1 / float(np.hypot(*similarity_transform(face.landmarks, TEMPLATE)[:, 0]))

            def seen(rendering: str) -> FaceCrop | None:
                if rendering == CLEAN:
                    return _sight(photo, face)
                poor = degrade(photo, rendering, name, scale)
                found = self._face(detector, poor, name)
                return None if found is None else _sight(poor, found)

            return [seen(rendering) for rendering in wanted]

        return find

    def _face(self, detector: Detector, photo: Image, name: str) -> Face | None:
        """The face that is meant and can be aligned, if there is one: else it is a failure to acquire."""
        try:
            face = select_face(detector.detect(photo), photo.shape[:2], self.policy, name)
            similarity_transform(face.landmarks, TEMPLATE)
        except (NoFaceError, SeveralFacesError):
            return None
        return face


def _sight(photo: Image, face: Face) -> FaceCrop:
    aligned = align(photo, face.landmarks)
    return FaceCrop(aligned, {"sharpness": sharpness(aligned), "detector": face.score})
