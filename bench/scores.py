"""From which score on `spot` counts a face, on people it was trained on, for that choice: recall of what YuNet
finds with at least 0.7, and photographs with a find where YuNet sees nothing of at least 0.3.

`python -m bench.scores DETECTOR [PHOTOGRAPHS] [varied]`: `varied` shows both of them photographs that no training had:
each resized, in other light and perhaps mirrored, for what is only known by heart is not found there.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import cv2
import numpy as np

from bench.__main__ import data
from bench.detector import FOUND, TEST_FOLDS
from edgefr.data.collections import open_faces, person_of
from edgefr.data.degradations import Rng
from edgefr.data.lfw_pairs import people_of, read_pairs
from edgefr.detection import spot, yunet
from edgefr.detection.geometry import box_iou
from edgefr.types import Image

SCORES = (0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.67, 0.7)
SOMETHING = 0.3
"""YuNet's score, and the overlap, from which on a find of `spot` is not called false."""


def varied(photo: Image, rng: Rng) -> Image:
    """The photograph 0.8 to 1.3 times as large, lighter or darker, every other one mirrored."""
    scale = float(np.exp(rng.uniform(np.log(0.8), np.log(1.3))))
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    other = cv2.resize(photo, None, fx=scale, fy=scale, interpolation=how) * rng.uniform(0.8, 1.2)
    lit = np.clip(other + rng.uniform(-15, 15), 0, 255).astype(np.uint8)
    return np.ascontiguousarray(lit[:, :: 1 if rng.random() < 0.5 else -1])


def run(data: Path, detector: Path, photographs: int = 500, vary: bool = False) -> dict[str, dict[str, float]]:
    """By score: recall, and how many photographs hold a false face."""
    rng = np.random.default_rng(0)
    yunet.SCORE_THRESHOLD, spot.SCORE_THRESHOLD = SOMETHING, SCORES[0]  # this process needs all candidates
    teacher, tried = yunet.YuNet(data / "detectors/face_detection_yunet_2023mar.onnx"), spot.Spot(detector)
    folder = open_faces(data / "lfw-deepfunneled.zip")
    held_out = people_of(read_pairs(data / "lfw-pairs.txt"), TEST_FOLDS)
    names = [name for name in folder.names if person_of(name) not in held_out]
    best, false = [], []
    for index in np.linspace(0, len(names) - 1, photographs).astype(int):
        photo = folder.read(names[index])
        photo = varied(photo, rng) if vary else photo
        known, found = teacher.detect(photo), tried.detect(photo)
        for face in known:
            if face.score >= 0.7:
                same = [each.score for each in found if box_iou([each.box], [face.box])[0, 0] >= FOUND]
                best.append(max(same, default=0.0))
        strange = [each.score for each in found if (box_iou([each.box], known.boxes) < SOMETHING).all()]
        false.append(max(strange, default=0.0))
    return {
        f"{score:g}": {
            "recall": round(float(np.mean(np.array(best) >= score)), 4),
            "photographs_with_a_false_face": int(np.sum(np.array(false) >= score)),
        }
        for score in SCORES
    }


if __name__ == "__main__":
    told = run(data(), Path(sys.argv[1]), *map(int, sys.argv[2:3]), vary="varied" in sys.argv[3:])
    print(json.dumps(told, indent=1))
