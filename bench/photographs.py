"""LFW folds 6-10 as raw photographs through detection and alignment: the fused model beside the ArcFace net alone.

Every photograph is degraded as a whole, before detection. A pair with a face that is not found is an error of
both. Each model decides as `edgefr verify` does, by its threshold at an FMR of 1e-3 over all pairs of different people
of folds 1-5 in good light.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgefr.cli.output import progress
from edgefr.data.collections import FaceFolder, open_faces, person_of
from edgefr.data.degradations import PROTOCOLS, degrade
from edgefr.data.lfw_pairs import NamedPair, people_of, read_pairs
from edgefr.detection.base import Detector, select_face
from edgefr.detection.registry import open_detector
from edgefr.errors import EdgefrError
from edgefr.evaluation.bootstrap import accuracy_difference
from edgefr.evaluation.fmr_thresholds import threshold_at_fmr
from edgefr.evaluation.lfw_protocol import index_pairs
from edgefr.evaluation.pairs import similarities
from edgefr.recognition.alignment import align
from edgefr.recognition.recogniser import Recogniser, open_recogniser

SCALE = 1.0
"""A face in LFW's 250x250 photographs is about as wide as in an aligned crop of 112."""

FMR = 1e-3
TEST_FOLDS = (6, 7, 8, 9, 10)


@dataclass(frozen=True)
class Found:
    """Aligned faces of the photographs in which one was found, and where each name's face lies."""

    faces: np.ndarray
    place: dict[str, int]


def find_faces(folder: FaceFolder, names: Sequence[str], protocol: str, detector: Detector) -> Found:
    crops, place = [], {}
    with progress(f"Finding faces: {protocol}", len(names)) as advance:
        for name in names:
            photo = degrade(folder.read(name), protocol, name, SCALE)
            try:
                face = select_face(detector.detect(photo), photo.shape[:2], "largest", name)
                crops.append(align(photo, face.landmarks))
                place[name] = len(crops) - 1
            except EdgefrError:
                pass  # counted: the name has no place
            advance(1)
    return Found(np.stack(crops), place)


def decisions(model: Recogniser, found: Found, pairs: Sequence[NamedPair]) -> tuple[np.ndarray, np.ndarray]:
    """Similarity (P,) of the pairs, NaN where a face is missing, and whether they are the same person's."""
    usable = np.array([pair.first in found.place and pair.second in found.place for pair in pairs])
    names, indexed = index_pairs([pair for pair, good in zip(pairs, usable, strict=True) if good])
    embedding = model.embed(found.faces[[found.place[name] for name in names]]).embedding
    similarity = np.full(len(pairs), np.nan)
    similarity[usable] = similarities(embedding, indexed)
    return similarity, np.array([pair.same for pair in pairs])


def threshold(model: Recogniser, data: Path, pairs: Sequence[NamedPair]) -> float:
    """The threshold at an FMR of 1e-3 on the aligned faces of everyone outside the test folds."""
    folder = open_faces(data / "lfw-aligned-112.zip")
    held_out = people_of(list(pairs), TEST_FOLDS)
    names = [name for name in folder.names if person_of(name) not in held_out]
    _, labels = np.unique([person_of(name) for name in names], return_inverse=True)
    return threshold_at_fmr(model.embed(folder.read_faces(names)).embedding, labels, FMR).value


def run(data: Path, models: dict[str, Path], protocols: Sequence[str] = tuple(PROTOCOLS)) -> dict[str, Any]:
    """One row per protocol: accuracy in % of every model, the fused one's gain in points with its interval."""
    folder = open_faces(data / "lfw-deepfunneled.zip")
    detector = open_detector(data / "detectors/face_detection_yunet_2023mar.onnx")
    pairs = read_pairs(data / "lfw-pairs.txt")
    test = [pair for pair in pairs if pair.fold in TEST_FOLDS]
    recognisers = {name: open_recogniser(path, "openvino", "fp32") for name, path in models.items()}
    thresholds = {name: threshold(model, data, pairs) for name, model in recognisers.items()}
    people = np.array([pair.people for pair in test])
    rows = []
    for protocol in protocols:
        found = find_faces(folder, index_pairs(test)[0], protocol, detector)
        right: dict[str, np.ndarray] = {}
        row: dict[str, Any] = {"protocol": protocol}
        for name, model in recognisers.items():
            similarity, same = decisions(model, found, test)
            right[name] = np.where(np.isnan(similarity), False, (similarity >= thresholds[name]) == same)
            row[name] = round(100 * float(right[name].mean()), 2)
        row["not_found"] = int(np.isnan(similarity).sum())
        fused, *others = right
        for other in others:
            gain = accuracy_difference(right[fused], right[other], people)
            row[f"gain_over_{other}"] = [round(100 * value, 2) for value in (gain.value, *gain.ci95)]
        rows.append(row)
    return {"pairs": len(test), "thresholds": thresholds, "rows": rows}
