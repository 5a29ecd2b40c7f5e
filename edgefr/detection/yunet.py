"""YuNet through OpenCV: the detector for devices, 0.2 MB."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from edgefr.detection.base import Face
from edgefr.detection.multiscale import detect_multiscale
from edgefr.errors import EdgefrError
from edgefr.io.opencv import silence_opencv
from edgefr.types import Floats, Image

SCORE, OVERLAP = 0.7, 0.3

SIDES = (1024, 320)
"""Longest sides in pixels. YuNet finds faces of about 12 to 600 pixels: the first size keeps the small faces
of a group, the second adds those that fill the picture for a tenth of the time."""


class YuNet:
    """OpenCV's `FaceDetectorYN` with the 2023mar file; its landmark order is that of `spec.TEMPLATE`."""

    name = "yunet"

    def __init__(self, path: Path) -> None:
        """Load the network.

        Raises:
            EdgefrError: OpenCV refuses the file.
        """
        self._path = path
        try:
            with silence_opencv():
                self._net = cv2.FaceDetectorYN.create(str(path), "", (320, 320), SCORE, OVERLAP)
        except cv2.error as error:
            raise self._refused() from error

    def detect(self, image: Image) -> list[Face]:
        """All faces in `image`, (H, W, 3) uint8 RGB, best score first."""
        longest = max(image.shape[:2])
        sides = tuple({min(side, longest): None for side in SIDES})  # it needs no enlarging
        return detect_multiscale(image, sides, self._candidates, OVERLAP)

    def _candidates(self, image: Image, side: int) -> Floats:
        try:
            with silence_opencv():
                self._net.setInputSize(image.shape[1::-1])
                _, rows = self._net.detect(cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
        except cv2.error as error:
            raise self._refused() from error
        return np.zeros((0, 15), np.float32) if rows is None else rows

    def _refused(self) -> EdgefrError:
        return EdgefrError(
            f"the YuNet detector in {self._path}",
            f"that OpenCV {cv2.__version__} cannot run it",
            "download face_detection_yunet_2023mar.onnx again from OpenCV's model zoo",
        )
