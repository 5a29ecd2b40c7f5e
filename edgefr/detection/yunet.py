"""YuNet, a detector of 0.2 MB, run by OpenCV."""

from __future__ import annotations

from pathlib import Path

import cv2

from edgefr.detection.base import Detections
from edgefr.detection.multiscale import detect_multiscale
from edgefr.errors import WrongModelError
from edgefr.io.onnx_file import ParsedModel
from edgefr.io.onnx_tensors import check_weights
from edgefr.io.opencv import silence_opencv
from edgefr.types import Image

SCORE_THRESHOLD, NMS_IOU = 0.7, 0.3

SIDES = (1024, 320)
"""Longest sides in pixels. YuNet finds faces of about 12 to 600 pixels: the first size keeps the small faces of a
group, the second adds faces that fill the picture and takes a tenth of the time."""


class YuNet:
    """OpenCV's `FaceDetectorYN` with the 2023mar file, which has the landmark order of `types.TEMPLATE`."""

    name = "yunet"
    upright_score = 0.912
    file = "face_detection_yunet_2023mar.onnx from OpenCV's model zoo"

    @staticmethod
    def accepts(outputs: dict[str, int | None]) -> bool:
        """Whether a graph with these outputs is this detector."""
        return set(outputs) == {f"{part}_{stride}" for part in ("cls", "obj", "bbox", "kps") for stride in (8, 16, 32)}

    def __init__(self, path: Path, _threads: int | None = None) -> None:
        """Load the network, see `FileDetector`. It uses the threads of OpenCV."""
        self._path = path
        check_weights(ParsedModel.read(path))
        try:
            with silence_opencv():
                self._net = cv2.FaceDetectorYN.create(str(path), "", (320, 320), SCORE_THRESHOLD, NMS_IOU)
        except cv2.error as error:
            raise self._wrong_model() from error

    def detect(self, image: Image) -> Detections:
        """Find all faces, see `Detector.detect`."""
        longest = max(image.shape[:2])
        sides = tuple({min(side, longest): None for side in SIDES})  # never enlarges
        return detect_multiscale(image, sides, self._candidates, NMS_IOU)

    def detect_once(self, image: Image) -> Detections:
        """Find faces at one size, see `FileDetector.detect_once`."""
        return detect_multiscale(image, (max(image.shape[:2]),), self._candidates, NMS_IOU)

    def _candidates(self, image: Image, _side: int) -> Detections:
        try:
            with silence_opencv():
                self._net.setInputSize(image.shape[1::-1])
                _, rows = self._net.detect(cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
        except cv2.error as error:
            raise self._wrong_model() from error
        return Detections.from_rows(rows)

    def _wrong_model(self) -> WrongModelError:
        return WrongModelError(
            f"the YuNet detector in {self._path}",
            f"a file that OpenCV {cv2.__version__} cannot run",
            "download face_detection_yunet_2023mar.onnx again from OpenCV's model zoo",
        )
