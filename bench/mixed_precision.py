"""Count the decisions that change if templates and probes have different precisions.

`python -m bench.mixed_precision MODEL FACES` enrols one aligned face of each person of LFW with several, in FP32, and
searches for another one in FP32 and in bf16.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from edgefr.data.collections import open_faces, person_of
from edgefr.engines.latency import describe_machine
from edgefr.evaluation.fmr_thresholds import threshold_at_fmr
from edgefr.io.files import sha256_of
from edgefr.recognition.recogniser import open_recogniser

MAX_PEOPLE = 500
FMR = 1e-3


def run(model: Path, faces: Path) -> dict[str, Any]:
    """Ranks and decisions of the probes in both precisions."""
    folder = open_faces(faces)
    images: dict[str, list[str]] = {}
    for name in folder.names:
        images.setdefault(person_of(name), []).append(name)
    several = [names for names in images.values() if len(names) > 1][:MAX_PEOPLE]
    first, second = (folder.read_faces([names[index] for names in several]) for index in (0, 1))
    exact = open_recogniser(model, "onnxruntime", "fp32")
    rough = open_recogniser(model, "openvino", "bf16")
    gallery, probe, other = exact.embed(first).embedding, exact.embed(second).embedding, rough.embed(second).embedding
    people = np.arange(len(several))
    threshold = threshold_at_fmr(np.concatenate([gallery, probe]), np.tile(people, 2), FMR).value
    found = [(one @ gallery.T).max(1) for one in (probe, other)]
    who = [(one @ gallery.T).argmax(1) for one in (probe, other)]
    return {
        "model_sha256": sha256_of(model),
        "people": len(several),
        "lowest_cosine": float((probe * other).sum(1).min()),
        "largest_change_of_similarity": float(np.abs(found[0] - found[1]).max()),
        "rank_1": [float((one == people).mean()) for one in who],
        "other_nearest": int((who[0] != who[1]).sum()),
        "decisions_that_flip": int(((found[0] >= threshold) != (found[1] >= threshold)).sum()),
    }


if __name__ == "__main__":
    model, faces = map(Path, sys.argv[1:])
    print(json.dumps({"machine": describe_machine(), **run(model, faces)}, indent=2))
