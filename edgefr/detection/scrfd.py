"""SCRFD with five landmarks as insightface exports it. Steps and constants are those of insightface's `scrfd.py`."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edgefr.detection.base import Detections
from edgefr.detection.multiscale import detect_multiscale
from edgefr.errors import WrongModelError
from edgefr.runtimes import open_backend
from edgefr.types import Floats, Image

SCORE_THRESHOLD, NMS_IOU = 0.5, 0.4
STRIDES = (8, 16, 32)

SIDES = (640, 320)
"""Sides in pixels of the square input: that of insightface, and half of it for faces that fill the picture.

A picture that is no larger than the second one is searched in it alone. Enlarged to 640 it shows no more: on 150
photographs of 250 pixels and 150 faces of 112, no face of 20 pixels is lost. Scenes of 360 pixels are searched in both:
a tenth of their faces, most of them smaller than 20 pixels, is found in the enlarged one only."""


class Scrfd:
    """A network with nine outputs: score, box and landmarks at strides 8, 16 and 32."""

    name = "scrfd"
    upright_score = 0.785
    file = "an SCRFD file of insightface whose name has 'kps'"

    @staticmethod
    def accepts(outputs: dict[str, int | None]) -> bool:
        """Whether a graph with these outputs is this detector."""
        widths = sorted(outputs.values(), key=lambda width: width or 0)
        return widths == [1, 1, 1, 4, 4, 4, 10, 10, 10]

    def __init__(self, path: Path, threads: int | None = None) -> None:
        """Load the network, see `FileDetector`."""
        self._path = path
        self._backend = open_backend(path, runtime="onnxruntime", threads=threads, spinning=False)
        inputs = self._backend.describe().inputs
        if len(inputs) != 1 or len(inputs[0].shape) != 4:
            raise self._wrong_model("a network whose input is not one picture")
        self._input = inputs[0].name
        _, _, height, width = inputs[0].shape
        self._canvas = (height, width) if height and width else None

    def detect(self, image: Image) -> Detections:
        """Find all faces, see `Detector.detect`."""
        longest = max(image.shape[:2])
        if self._canvas:
            sides: tuple[int, ...] = (min(self._canvas), min(self._canvas) // 2)
        else:
            sides = SIDES if longest > SIDES[1] else SIDES[1:]
        return detect_multiscale(image, sides, self._candidates, NMS_IOU)

    def detect_once(self, image: Image) -> Detections:
        """Find faces at one size, see `FileDetector.detect_once`."""
        side = min(self._canvas) if self._canvas else -(-max(image.shape[:2]) // STRIDES[-1]) * STRIDES[-1]
        return detect_multiscale(image, (side,), self._candidates, NMS_IOU)

    def _candidates(self, image: Image, side: int) -> Detections:
        height, width = self._canvas or (side, side)
        pixels = np.full((1, 3, height, width), -127.5 / 128, np.float32)  # black beside the picture
        pixels[0, :, : image.shape[0], : image.shape[1]] = (image.astype(np.float32).transpose(2, 0, 1) - 127.5) / 128
        outputs = self._backend.infer({self._input: pixels})
        # The names are numbers, so the last axis decides the kind of an output and the number of rows its stride.
        scores, boxes, points = (
            sorted((part.reshape(-1, n) for part in outputs.values() if part.shape[-1] == n), key=len)[::-1]
            for n in (1, 4, 10)
        )
        levels = zip(STRIDES, scores, boxes, points, strict=True)
        return Detections.concatenate([self._decode(*level, (height, width)) for level in levels])

    def _decode(
        self, stride: int, scores: Floats, boxes: Floats, points: Floats, canvas: tuple[int, int]
    ) -> Detections:
        """Decode one level; distances and offsets are in strides from the grid point of each anchor.

        Args:
            stride: Distance of the grid points in pixels of the canvas.
            scores: (A, 1) for A anchors.
            boxes: (A, 4), distances to the left, top, right and bottom edge.
            points: (A, 10), offsets of five landmarks as x, y.
            canvas: Height and width of the input in pixels.
        """
        rows, columns = (-(-side // stride) for side in canvas)
        anchors, rest = divmod(len(scores), rows * columns)
        if rest or not len(scores) == len(boxes) == len(points):
            raise self._wrong_model(f"{len(scores)} scores for {rows} x {columns} grid points")
        y, x = np.mgrid[:rows, :columns].reshape(2, -1) * stride
        grid = np.repeat(np.stack([x, y], 1), anchors, 0)  # (rows * columns * anchors, 2)
        good = scores[:, 0] >= SCORE_THRESHOLD
        grid, boxes, points = grid[good], boxes[good] * stride, points[good] * stride
        corner, size = grid - boxes[:, :2], boxes[:, :2] + boxes[:, 2:]
        landmarks = (np.tile(grid, 5) + points).reshape(-1, 5, 2)
        return Detections(np.hstack([corner, size]).astype(np.float32), landmarks.astype(np.float32), scores[good, 0])

    def _wrong_model(self, found: str) -> WrongModelError:
        return WrongModelError(
            f"SCRFD with landmarks in {self._path}", found, "use scrfd_*_bnkps.onnx or det_*.onnx of insightface"
        )
