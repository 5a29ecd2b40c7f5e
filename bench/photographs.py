"""Compare the fused model with the ArcFace network alone on photographs of LFW folds 6-10, detection included.

Every photograph is degraded before detection. A pair with a face that is not found is an error of both models. Each
model decides like `edgefr verify`, by its threshold at an FMR of 1e-3 over all pairs of different people outside these
folds in good light.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench.lfw import TEST_FOLDS, YUNET, select_names
from edgefr.cli.output import progress
from edgefr.data.collections import FaceFolder, open_faces, person_of
from edgefr.data.degradations import PROTOCOLS, degrade
from edgefr.data.lfw_pairs import NamedPair, read_pairs
from edgefr.detection.base import Detector, select_face
from edgefr.detection.detector_registry import open_detector
from edgefr.errors import NoFaceError
from edgefr.evaluation.bootstrap import accuracy_difference
from edgefr.evaluation.fmr_thresholds import threshold_at_fmr
from edgefr.evaluation.lfw_protocol import index_pairs
from edgefr.evaluation.pairs import similarities
from edgefr.recognition.alignment import align
from edgefr.recognition.recogniser import Recogniser, open_recogniser

SCALE = 1.0
"""A face in LFW's photographs of 250x250 pixels is about as wide as in an aligned crop of 112."""

FMR = 1e-3


@dataclass(frozen=True)
class FoundFaces:
    """The aligned faces of the photographs in which one was found, and the index of each name."""

    faces: np.ndarray
    index: dict[str, int]


def find_faces(folder: FaceFolder, names: Sequence[str], protocol: str, detector: Detector) -> FoundFaces:
    crops, index = [], {}
    with progress(f"Finding faces: {protocol}", len(names)) as advance:
        for name in names:
            photo = degrade(folder.read(name), protocol, name, SCALE)
            try:
                face = select_face(detector.detect(photo), photo.shape[:2], "largest", name)
                crops.append(align(photo, face.landmarks))
                index[name] = len(crops) - 1
            except NoFaceError:
                pass  # counted by `run`
            advance(1)
    return FoundFaces(np.stack(crops), index)


def decisions(model: Recogniser, found: FoundFaces, pairs: Sequence[NamedPair]) -> tuple[np.ndarray, np.ndarray]:
    """Similarities (P,) of the pairs, NaN if a face is missing, and whether each pair is genuine."""
    usable = np.array([pair.first in found.index and pair.second in found.index for pair in pairs])
    names, indexed = index_pairs([pair for pair, good in zip(pairs, usable, strict=True) if good])
    embedding = model.embed(found.faces[[found.index[name] for name in names]]).embedding
    similarity = np.full(len(pairs), np.nan)
    similarity[usable] = similarities(embedding, indexed)
    return similarity, np.array([pair.same for pair in pairs])


def threshold(model: Recogniser, data: Path) -> float:
    """The threshold at an FMR of 1e-3 on the aligned faces of all people outside the test folds."""
    folder = open_faces(data / "lfw-aligned-112.zip")
    names = select_names(folder, data, held_out=False)
    _, labels = np.unique([person_of(name) for name in names], return_inverse=True)
    return threshold_at_fmr(model.embed(folder.read_faces(names)).embedding, labels, FMR).value


def run(data: Path, models: dict[str, Path], protocols: Sequence[str] = tuple(PROTOCOLS)) -> dict[str, Any]:
    """A row for each protocol: accuracy of each model in %, and gain of the fused one in points with its interval."""
    folder = open_faces(data / "lfw-deepfunneled.zip")
    detector = open_detector(data / YUNET)
    pairs = read_pairs(data / "lfw-pairs.txt")
    test = [pair for pair in pairs if pair.fold in TEST_FOLDS]
    recognisers = {name: open_recogniser(path, "openvino", "fp32") for name, path in models.items()}
    thresholds = {name: threshold(model, data) for name, model in recognisers.items()}
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
