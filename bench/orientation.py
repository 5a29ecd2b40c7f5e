"""What turned photographs do to verification: `python -m bench.orientation DETECTOR.onnx|spot [COUNT]`.

One photograph of each of COUNT training people is turned by 0, 90, 180 and 270 degrees. For the detector as it is, and
with the check of orientations, the rows give the share of pairs of strangers at or above the threshold of `mini`, the
photographs without a face, and the share of photographs that match their upright copies. `cost` is the processor time
of the whole work on upright photographs with the check, as a multiple of that without, in turns.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from bench.lfw import data, select_names
from edgefr.data.collections import FaceFolder, open_faces, person_of
from edgefr.detection.base import Detector
from edgefr.detection.orientation import UprightDetector, turned
from edgefr.errors import NoFaceError
from edgefr.recognition.verifier import Verifier
from edgefr.types import Floats

ROUNDS = 4


def run(data: Path, detector: Path, count: int) -> dict[str, Any]:
    """A row for each way of detection and angle, and the cost of the check."""
    cv2.setNumThreads(1)
    verifier = Verifier.open(detector=detector, runtime="onnxruntime", precision="fp32", threads=1)
    checked = verifier.detector
    assert isinstance(checked, UprightDetector)
    folder = open_faces(data / "lfw-deepfunneled.zip")
    by_person = {person_of(name): name for name in select_names(folder, data, held_out=False)}
    names = [by_person[person] for person in np.random.default_rng(7).permutation(sorted(by_person))[:count]]
    upright = embed(verifier, checked, folder, names, 0)
    threshold, rows = verifier.threshold().value, []
    for which, used in (("as is", checked.as_is), ("checked", checked)):
        for turns in range(4):
            found = embed(verifier, used, folder, names, turns)
            similarity = (found @ found.T)[np.triu_indices(count, 1)]
            rows.append(
                {
                    "detection": which,
                    "degrees": 90 * turns,
                    "strangers_matched": round(float(np.mean(similarity[np.isfinite(similarity)] >= threshold)), 5),
                    "no_face": int(np.isnan(found[:, 0]).sum()),
                    "match_upright": round(float(np.mean(np.nan_to_num((found * upright).sum(1)) >= threshold)), 4),
                }
            )
    ratios = [
        seconds(verifier, checked, folder, names) / seconds(verifier, checked.as_is, folder, names)
        for _ in range(ROUNDS)
    ]
    return {"photographs": count, "threshold": threshold, "rows": rows, "cost": [round(ratio, 3) for ratio in ratios]}


def embed(verifier: Verifier, detector: Detector, folder: FaceFolder, names: list[str], turns: int) -> Floats:
    """Embeddings (N, K) of turned photographs, NaN for those without a face."""
    verifier.detector = detector
    found = []
    for name in names:
        try:
            found.append(verifier.embed([verifier.find_in(turned(folder.read(name), turns), name)])[0].embedding)
        except NoFaceError:
            found.append(np.full(verifier.recogniser.embedding_dim, np.nan, np.float32))
    return np.stack(found)


def seconds(verifier: Verifier, detector: Detector, folder: FaceFolder, names: list[str]) -> float:
    """Processor time of reading, detecting and embedding all photographs."""
    before = time.process_time()
    embed(verifier, detector, folder, names, 0)
    return time.process_time() - before


if __name__ == "__main__":
    print(json.dumps(run(data(), Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 300), indent=1))
