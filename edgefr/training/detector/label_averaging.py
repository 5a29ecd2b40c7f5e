"""Labels by test-time augmentation: a teacher's detections averaged over views, because one view has its own noise."""

from __future__ import annotations

import cv2
import numpy as np

from edgefr.detection.base import Detections
from edgefr.detection.geometry import box_iou, warp_detections
from edgefr.types import Floats, Image

SIZES = (0.8, 1.0, 1.25)
"""Sizes of the views relative to the picture; each view is also mirrored."""

SAME_FACE_IOU = 0.5


def tta_labels(picture: Image, net: cv2.FaceDetectorYN) -> Detections:
    """Detect faces, and average boxes and landmarks over all views that show the same face.

    YuNet's landmarks in a picture and in its mirror image differ by a tenth of the distance between the eyes.

    Args:
        picture: (H, W, 3) RGB.
        net: The teacher.

    Returns:
        The faces of the plain picture with its scores.
    """
    plain = _detect(picture, net, 1.0, mirrored=False)
    views = [_detect(picture, net, size, mirrored) for size in SIZES for mirrored in (False, True)]
    boxes, landmarks = plain.boxes.copy(), plain.landmarks.copy()
    for index, box in enumerate(plain.boxes):
        same = [(view, best) for view in views if (best := _find_same(box, view)) is not None]
        if same:
            boxes[index] = np.mean([view.boxes[best] for view, best in same], axis=0)
            landmarks[index] = np.mean([view.landmarks[best] for view, best in same], axis=0)
    return Detections(boxes, landmarks, plain.scores)


def _detect(picture: Image, net: cv2.FaceDetectorYN, size: float, mirrored: bool) -> Detections:
    """Faces in a resized or mirrored view, in pixels of the picture."""
    half = (1 - 1 / size) / 2  # OpenCV resizes about the middle of the first pixel
    back = np.array([[1 / size, 0, -half], [0, 1 / size, -half]])
    view = cv2.resize(picture, None, fx=size, fy=size, interpolation=cv2.INTER_AREA if size < 1 else cv2.INTER_LINEAR)
    if mirrored:
        view = view[:, ::-1]
        back = np.array([[-1 / size, 0, (view.shape[1] - 1) / size - half], back[1]])
    net.setInputSize(view.shape[1::-1])
    _, rows = net.detect(cv2.cvtColor(np.asarray(view, np.uint8), cv2.COLOR_RGB2BGR))
    return warp_detections(Detections.from_rows(rows), back)


def _find_same(box: Floats, view: Detections) -> int | None:
    """Index of the face of `view` with this box (4,), if any."""
    overlap = box_iou(box, view.boxes)[0]
    return int(overlap.argmax()) if overlap.max(initial=0) >= SAME_FACE_IOU else None
