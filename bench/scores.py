"""Choose the score threshold of `spot`, on people it was trained on: the recall of faces that YuNet finds with at least
0.7, and the photographs with a detection where YuNet finds nothing with at least 0.3.

`python -m bench.scores DETECTOR [PHOTOGRAPHS] [varied]`: `varied` resizes, relights and sometimes mirrors the
photographs, so that they differ from those of the training.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import cv2
import numpy as np

from bench.detector import MIN_IOU
from bench.lfw import YUNET, data, select_names
from edgefr.data.collections import open_faces
from edgefr.data.degradations import Rng
from edgefr.detection import spot, yunet
from edgefr.detection.geometry import box_iou
from edgefr.types import Image

SCORES = (0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.67, 0.7)
LOOSE = 0.3
"""YuNet's score and the IoU from which a detection of `spot` is not false."""


def vary_photograph(photo: Image, rng: Rng) -> Image:
    """The photograph at 0.8 to 1.3 of its size, lighter or darker, and mirrored half of the time."""
    scale = float(np.exp(rng.uniform(np.log(0.8), np.log(1.3))))
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    other = cv2.resize(photo, None, fx=scale, fy=scale, interpolation=how) * rng.uniform(0.8, 1.2)
    lit = np.clip(other + rng.uniform(-15, 15), 0, 255).astype(np.uint8)
    return np.ascontiguousarray(lit[:, :: 1 if rng.random() < 0.5 else -1])


def run(data: Path, detector: Path, photographs: int = 500, vary: bool = False) -> dict[str, dict[str, float]]:
    """Score threshold -> recall and number of photographs with a false face."""
    rng = np.random.default_rng(0)
    yunet.SCORE_THRESHOLD, spot.SCORE_THRESHOLD = LOOSE, SCORES[0]  # all candidates are needed
    teacher, tested = yunet.YuNet(data / YUNET), spot.Spot(detector)
    folder = open_faces(data / "lfw-deepfunneled.zip")
    names = select_names(folder, data, held_out=False)
    best, false = [], []
    for index in np.linspace(0, len(names) - 1, photographs).astype(int):
        photo = folder.read(names[index])
        photo = vary_photograph(photo, rng) if vary else photo
        known, found = teacher.detect(photo), tested.detect(photo)
        for face in known:
            if face.score >= 0.7:
                same = [each.score for each in found if box_iou([each.box], [face.box])[0, 0] >= MIN_IOU]
                best.append(max(same, default=0.0))
        unmatched = [each.score for each in found if (box_iou([each.box], known.boxes) < LOOSE).all()]
        false.append(max(unmatched, default=0.0))
    return {
        f"{score:g}": {
            "recall": round(float(np.mean(np.array(best) >= score)), 4),
            "photographs_with_a_false_face": int(np.sum(np.array(false) >= score)),
        }
        for score in SCORES
    }


if __name__ == "__main__":
    result = run(data(), Path(sys.argv[1]), *map(int, sys.argv[2:3]), vary="varied" in sys.argv[3:])
    print(json.dumps(result, indent=1))
