"""From which score on `spot` counts a face, on people it was trained on, for that choice: recall of what YuNet
finds with at least 0.7, and photographs with a find where YuNet sees nothing of at least 0.3.

`python -m bench.scores DETECTOR [PHOTOGRAPHS]`
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

from bench.__main__ import data
from bench.detector import FOUND, TEST_FOLDS, overlap
from edgefr.data.faces import open_faces, person_of
from edgefr.data.lfw import people_of, read_pairs
from edgefr.face import spot, yunet

SCORES = (0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.67, 0.7)
SOMETHING = 0.3
"""YuNet's score, and the overlap, from which on a find of `spot` is not called false."""


def run(data: Path, detector: Path, photographs: int = 500) -> dict[str, dict[str, float]]:
    """By score: recall, and how many photographs hold a false face."""
    yunet.SCORE, spot.SCORE = SOMETHING, SCORES[0]  # all that they find; this process asks for nothing else
    teacher, tried = yunet.YuNet(data / "detectors/face_detection_yunet_2023mar.onnx"), spot.Spot(detector)
    folder = open_faces(data / "lfw-deepfunneled.zip")
    held_out = people_of(read_pairs(data / "lfw-pairs.txt"), TEST_FOLDS)
    names = [name for name in folder.names if person_of(name) not in held_out]
    best, false = [], []
    for index in np.linspace(0, len(names) - 1, photographs).astype(int):
        photo = folder.read(names[index])
        known, found = teacher.detect(photo), tried.detect(photo)
        for face in known:
            if face.score >= 0.7:
                same = [each.score for each in found if overlap(each.box, face.box) >= FOUND]
                best.append(max(same, default=0.0))
        strange = [each.score for each in found if all(overlap(each.box, o.box) < SOMETHING for o in known)]
        false.append(max(strange, default=0.0))
    return {
        f"{score:g}": {
            "recall": round(float(np.mean(np.array(best) >= score)), 4),
            "photographs_with_a_false_face": int(np.sum(np.array(false) >= score)),
        }
        for score in SCORES
    }


if __name__ == "__main__":
    print(json.dumps(run(data(), Path(sys.argv[1]), *map(int, sys.argv[2:3])), indent=1))
