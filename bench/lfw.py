"""LFW's files, and the people that benchmarks are measured on."""

from __future__ import annotations

import os
from pathlib import Path

from edgefr.data.collections import FaceFolder, person_of
from edgefr.data.lfw_pairs import people_of, read_pairs

TEST_FOLDS = (6, 7, 8, 9, 10)
"""No model is trained on the people of these folds."""

YUNET = "detectors/face_detection_yunet_2023mar.onnx"


def data() -> Path:
    """The folder of weights and faces."""
    return Path(os.environ.get("EDGEFR_SHARED", "../shared")) / "data"


def select_names(folder: FaceFolder, data: Path, held_out: bool) -> list[str]:
    """The names in a folder whose people are in the test folds (`held_out`), or in none of them."""
    people = people_of(read_pairs(data / "lfw-pairs.txt"), TEST_FOLDS)
    return [name for name in folder.names if (person_of(name) in people) == held_out]
