"""Dense YuNet predictions as distillation targets.

Scores at and near faces and at face-like patterns carry more information about a picture than boxes alone.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from edgefr.detection.base import Detections
from edgefr.detection.geometry import box_iou, warp_detections
from edgefr.errors import EdgefrError
from edgefr.types import Image

SAME_FACE_IOU, NEAR_FACE_IOU = 0.5, 0.2
"""Overlaps with a known face from which a prediction is of this face, and from which it may be."""

STRIDES = (8, 16, 32)
"""Strides of YuNet's grids. Its anchor points lie half a stride above and left of those of `spot`."""

CHANNELS = {"cls": 1, "obj": 1, "bbox": 4, "kps": 10}
OUTPUTS = tuple(f"{name}_{stride}" for stride in STRIDES for name in CHANNELS)


def unusable_teacher(path: Path) -> EdgefrError:
    """The error for a file that OpenCV cannot run."""
    return EdgefrError(
        f"the YuNet detector in {path}",
        f"that OpenCV {cv2.__version__} cannot run it",
        "download face_detection_yunet_2023mar.onnx again from OpenCV's model zoo",
    )


class YuNetDense:
    """YuNet (2023mar) without score threshold and non-maximum suppression. One object serves one thread."""

    def __init__(self, path: Path) -> None:
        """Load the network.

        Args:
            path: The ONNX file.

        Raises:
            EdgefrError: OpenCV cannot run it.
        """
        self._path = path
        try:
            self._net = cv2.dnn.readNet(str(path))
        except cv2.error as error:
            raise unusable_teacher(path) from error

    def predict(self, picture: Image) -> Detections:
        """Predict a face at every anchor point, decoded as in OpenCV's `FaceDetectorYN`.

        Args:
            picture: (H, W, 3) uint8 RGB, sides multiples of 32.

        Returns:
            P faces in the order of the anchor points.

        Raises:
            EdgefrError: OpenCV cannot run the network.
        """
        try:
            self._net.setInput(cv2.dnn.blobFromImage(picture, swapRB=True))
            outputs = dict(zip(OUTPUTS, self._net.forward(OUTPUTS), strict=True))
        except cv2.error as error:
            raise unusable_teacher(self._path) from error
        grids = []
        for stride in STRIDES:
            cls, obj, box, points = (
                outputs[f"{name}_{stride}"].reshape(-1, channels) for name, channels in CHANNELS.items()
            )
            anchors = _grid(picture.shape[0] // stride, picture.shape[1] // stride)  # (P, 2) in strides
            centre, size = (anchors + box[:, :2]) * stride, np.exp(box[:, 2:]) * stride
            landmarks = (points + np.tile(anchors, 5)) * stride
            score = np.sqrt(np.clip(cls, 0, 1) * np.clip(obj, 0, 1))
            grids.append(np.hstack([centre - size / 2, size, landmarks, score]))
        return Detections.from_rows(np.concatenate(grids))


def apply_known_labels(predictions: Detections, faces: Detections, complete: bool) -> Detections:
    """Correct predictions by the faces that are known to be in the picture.

    Predictions of a known face get its box and landmarks, because YuNet leaves the landmarks of a rotated head half
    upright. They keep their score, because the face may be covered.

    Args:
        predictions: P predictions.
        faces: The known faces.
        complete: Whether there are no other faces, so that predictions elsewhere get the score 0.

    Returns:
        The P corrected predictions.
    """
    overlap = box_iou(predictions.boxes, faces.boxes)  # (P, F)
    largest = overlap.max(1, initial=0)
    same = largest >= SAME_FACE_IOU
    boxes, landmarks, scores = predictions.boxes.copy(), predictions.landmarks.copy(), predictions.scores.copy()
    if same.any():
        best = overlap[same].argmax(1)
        boxes[same], landmarks[same] = faces.boxes[best], faces.landmarks[best]
    if complete:
        scores[largest < NEAR_FACE_IOU] = 0
    return Detections(boxes, landmarks, scores)


def rotate_predictions(image: Image, predictions: Detections, degrees: float) -> tuple[Image, Detections]:
    """Rotate a picture about its middle, with its predictions.

    Each anchor point gets the rotated prediction of the anchor point where its middle was before. Outside the old
    picture the image is black and the score 0. The student thus becomes as sure of a rotated head as the teacher is of
    an upright one; YuNet itself detects few heads beyond 30 degrees.

    Args:
        image: (S, S, 3).
        predictions: P predictions.
        degrees: Angle, counter-clockwise.

    Returns:
        The rotated picture and its P predictions.
    """
    side = len(image)
    middle = (side - 1) / 2
    matrix = cv2.getRotationMatrix2D((middle, middle), degrees, 1)
    back = cv2.invertAffineTransform(matrix)
    sources, visible, first = [], [], 0
    for stride in STRIDES:
        cells = side // stride
        centres = (_grid(cells, cells) + 0.5) * stride - 0.5
        x, y = np.floor((centres @ back[:, :2].T + back[:, 2] + 0.5) / stride).astype(np.int64).T
        visible.append((x >= 0) & (x < cells) & (y >= 0) & (y < cells))
        sources.append(first + y.clip(0, cells - 1) * cells + x.clip(0, cells - 1))
        first += cells * cells
    source = predictions.take(np.concatenate(sources))
    shown = Detections(source.boxes, source.landmarks, np.where(np.concatenate(visible), source.scores, np.float32(0)))
    picture = cv2.warpAffine(image, matrix, (side, side), flags=cv2.INTER_LINEAR)
    return np.asarray(picture, np.uint8), warp_detections(shown, matrix)


def _grid(rows: int, columns: int) -> npt.NDArray[np.int64]:
    """Columns and rows (rows * columns, 2) of the cells of a grid, row by row."""
    y, x = np.divmod(np.arange(rows * columns), columns)
    return np.stack([x, y], 1)
