"""Compare a detector's landmarks of the largest face with YuNet's average over nine views of the photograph: the
photograph itself, and four other sizes, each also mirrored. A single view of YuNet's differs by 6.6 % of the eyes'
distance.

`python -m bench.landmarks DETECTOR [PHOTOGRAPHS]` uses people outside LFW's folds 6-10, so that choices can be based on
it.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import cv2
import numpy as np

from bench.lfw import YUNET, data, select_names
from edgefr.data.collections import open_faces
from edgefr.detection.base import Detector, Face
from edgefr.detection.detector_registry import open_detector
from edgefr.detection.geometry import box_iou
from edgefr.types import Floats, Image

SIZES = (0.7, 0.85, 1.2, 1.5)
MIN_IOU = 0.5
"""Boxes with at least this IoU belong to the same face."""


def average_landmarks(yunet: Detector, photo: Image, face: Face) -> Floats:
    """The mean landmarks (5, 2) of `face` over all views."""
    views = [face.landmarks]
    for size in SIZES:
        scaled = np.asarray(cv2.resize(photo, None, fx=size, fy=size), np.uint8)
        for view, mirrored in ((scaled, False), (np.ascontiguousarray(scaled[:, ::-1]), True)):
            for found in yunet.detect(view):
                x, y, width, height = found.box
                points = found.landmarks.copy()
                if mirrored:
                    x = view.shape[1] - 1 - x - width
                    points[:, 0] = view.shape[1] - 1 - points[:, 0]
                    points = points[[1, 0, 2, 4, 3]]
                box = (x / size, y / size, width / size, height / size)
                if box_iou([box], [face.box])[0, 0] > MIN_IOU:
                    views.append((points + 0.5) / size - 0.5)  # relative to the centre of the first pixel, like OpenCV
    return np.asarray(np.mean(views, axis=0), np.float32)


def run(data: Path, detector: Path, photographs: int = 250) -> dict[str, float]:
    """Mean errors of the detector and of a single view of YuNet's as shares of the eyes' distance, and the share of
    missed faces."""
    tested, yunet = open_detector(detector), open_detector(data / YUNET)
    folder = open_faces(data / "lfw-deepfunneled.zip")
    names = select_names(folder, data, held_out=False)
    errors, own, missed = [], [], 0
    for index in np.linspace(0, len(names) - 1, photographs).astype(int):
        photo = folder.read(names[index])
        faces = yunet.detect(photo)
        if not faces:
            continue
        face = max(faces, key=lambda found: found.box[2])
        truth = average_landmarks(yunet, photo, face)
        eyes = float(np.linalg.norm(truth[1] - truth[0]))
        own.append(float(np.linalg.norm(face.landmarks - truth, axis=1).mean()) / eyes)
        same = [found for found in tested.detect(photo) if box_iou([found.box], [face.box])[0, 0] > MIN_IOU]
        missed += not same
        errors += [float(np.linalg.norm(found.landmarks - truth, axis=1).mean()) / eyes for found in same[:1]]
    return {"error": float(np.mean(errors)), "one_look_of_yunet": float(np.mean(own)), "missed": missed / len(own)}


if __name__ == "__main__":
    print(json.dumps(run(data(), Path(sys.argv[1]), *map(int, sys.argv[2:3])), indent=1))
