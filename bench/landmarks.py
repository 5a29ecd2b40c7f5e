"""Where a detector puts the landmarks of the largest face, beside the average of YuNet's looks at nine views of the
photograph: four other sizes, each also in a mirror. One look of YuNet's is off that by 6.6 % of the eyes' distance.

`python -m bench.landmarks DETECTOR [PHOTOGRAPHS]`: on people outside LFW's folds 6-10, for choices to be made on.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import cv2
import numpy as np

from bench.__main__ import data
from edgefr.data.collections import open_faces, person_of
from edgefr.data.lfw_pairs import people_of, read_pairs
from edgefr.detection.base import Detector, Face
from edgefr.detection.geometry import box_iou
from edgefr.detection.registry import open_detector
from edgefr.types import Floats, Image

SIZES = (0.7, 0.85, 1.2, 1.5)
SAME = 0.5
"""IoU from which on two boxes are of one face."""


def averaged(yunet: Detector, photo: Image, face: Face) -> Floats:
    """The landmarks (5, 2) of `face` in all views, on the average."""
    looks = [face.landmarks]
    for size in SIZES:
        scaled = np.asarray(cv2.resize(photo, None, fx=size, fy=size), np.uint8)
        for view, back in ((scaled, False), (np.ascontiguousarray(scaled[:, ::-1]), True)):
            for found in yunet.detect(view):
                x, y, width, height = found.box
                points = found.landmarks.copy()
                if back:
                    x = view.shape[1] - 1 - x - width
                    points[:, 0] = view.shape[1] - 1 - points[:, 0]
                    points = points[[1, 0, 2, 4, 3]]
                seen = (x / size, y / size, width / size, height / size)
                if box_iou([seen], [face.box])[0, 0] > SAME:
                    looks.append((points + 0.5) / size - 0.5)  # from the middle of the first pixel, as OpenCV resizes
    return np.asarray(np.mean(looks, axis=0), np.float32)


def run(data: Path, detector: Path, photographs: int = 250) -> dict[str, float]:
    """Mean errors as shares of the eyes' distance, of the detector and of one look of YuNet's, and how often the
    detector missed the face."""
    tried, yunet = open_detector(detector), open_detector(data / "detectors/face_detection_yunet_2023mar.onnx")
    folder = open_faces(data / "lfw-deepfunneled.zip")
    held_out = people_of(read_pairs(data / "lfw-pairs.txt"), (6, 7, 8, 9, 10))
    names = [name for name in folder.names if person_of(name) not in held_out]
    errors, own, missed = [], [], 0
    for index in np.linspace(0, len(names) - 1, photographs).astype(int):
        photo = folder.read(names[index])
        faces = yunet.detect(photo)
        if not faces:
            continue
        face = max(faces, key=lambda found: found.box[2])
        truth = averaged(yunet, photo, face)
        eyes = float(np.linalg.norm(truth[1] - truth[0]))
        own.append(float(np.linalg.norm(face.landmarks - truth, axis=1).mean()) / eyes)
        same = [found for found in tried.detect(photo) if box_iou([found.box], [face.box])[0, 0] > SAME]
        missed += not same
        errors += [float(np.linalg.norm(found.landmarks - truth, axis=1).mean()) / eyes for found in same[:1]]
    return {"error": float(np.mean(errors)), "one_look_of_yunet": float(np.mean(own)), "missed": missed / len(own)}


if __name__ == "__main__":
    print(json.dumps(run(data(), Path(sys.argv[1]), *map(int, sys.argv[2:3])), indent=1))
