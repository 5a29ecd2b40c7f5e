"""Thresholds at false match rates and limits of quality, measured in the precision that they will be used in.

They hold for faces like these: whoever calibrates chooses people like those who will be verified, and not those whom
accuracy is then measured on. Who they were is kept with each threshold (`Threshold.measured_on`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgefr.data.collections import FaceFolder, open_faces, person_of
from edgefr.data.lfw_pairs import people_of, read_pairs
from edgefr.errors import EdgefrError
from edgefr.evaluation.error_rates import supported
from edgefr.evaluation.error_versus_discard import limit_at
from edgefr.evaluation.fmr_thresholds import threshold_at_fmr
from edgefr.evaluation.protocols import CLEAN, FaceCrop, Find
from edgefr.manifest import QualityLimit, Signal, Threshold
from edgefr.recognition.recogniser import Embeddings, Recogniser
from edgefr.types import UNCERTAINTY, Floats, Ints

CHUNK = 256
"""Faces read at once: a collection of many would fill the memory."""

DISCARD = 0.01
"""The share of the faces calibrated on that is to lie below a quality limit."""


@dataclass(frozen=True)
class Chosen:
    """The pictures to calibrate on, and who is on them in words."""

    folder: FaceFolder
    names: tuple[str, ...]
    whose: str


def choose(faces: Path, pairs: Path | None = None, folds: tuple[int, ...] = ()) -> Chosen:
    """Everyone in a collection of aligned faces, or everyone who is in a pair of these folds of LFW's pairs file.

    Raises:
        EdgefrError: a file cannot be read, only one of `pairs` and `folds` is given, or nobody is left.
    """
    folder = open_faces(faces)
    if pairs is None and not folds:
        return Chosen(folder, tuple(folder.names), faces.name)
    if pairs is None or not folds:
        raise EdgefrError("a pairs file and folds", "one of them", "give both --pairs and --folds")
    people = people_of(read_pairs(pairs), folds)
    names = tuple(name for name in folder.names if person_of(name) in people)
    listed = ", ".join(map(str, folds))
    if not names:
        raise EdgefrError(
            f"people of folds {listed} of {pairs} in {faces}",
            "none",
            "give the faces that belong to the pairs file, or other folds",
        )
    return Chosen(folder, names, f"{faces.name} (people of folds {listed} of {pairs.name})")


def measure(
    recogniser: Recogniser,
    chosen: Chosen,
    find: Find,
    fmrs: Sequence[float],
    signal: Signal | None = None,
    progress: Callable[[int], None] | None = None,
) -> tuple[tuple[Threshold, ...], QualityLimit | None]:
    """The threshold at each false match rate, and the limit of `signal` that all but 1 % of the faces reach.

    A picture in which `find` finds no face is left out. `progress` is told of every batch of pictures.

    Raises:
        EdgefrError: these faces are too few, or neither model nor pictures tell the signal: found out before any face
            is embedded. Or a picture cannot be read.
    """
    people = np.array([person_of(name) for name in chosen.names])
    _, labels, counts = np.unique(people, return_inverse=True, return_counts=True)
    for fmr in fmrs:
        supported(fmr, (len(labels) ** 2 - int((counts**2).sum())) // 2, "impostor pairs")
    if signal is not None:
        supported(DISCARD, len(labels), "faces")
    if signal == "certainty" and UNCERTAINTY not in {info.name for info in recogniser.description.outputs}:
        raise EdgefrError(
            "uncertainty beside the embedding, which the signal certainty needs",
            "a model that gives none",
            "calibrate with --quality norm",
        )
    found = _embed(recogniser, chosen, find, signal, progress)
    label = labels[found.place].astype(np.int64)
    return (
        tuple(_threshold(found.embedding, label, fmr, recogniser, chosen) for fmr in fmrs),
        None if found.quality is None or signal is None else _limit(found.quality, signal, chosen),
    )


@dataclass(frozen=True)
class _Found:
    """Of N faces the `place` (N,) of their pictures, their unit `embedding` (N, K), and what the signal that is
    calibrated says of them (N,)."""

    place: Ints
    embedding: Floats
    quality: Floats | None


def _embed(
    recogniser: Recogniser,
    chosen: Chosen,
    find: Find,
    signal: Signal | None,
    progress: Callable[[int], None] | None,
) -> _Found:
    places, embeddings, qualities = [], [], []
    for start in range(0, len(chosen.names), CHUNK):
        names = chosen.names[start : start + CHUNK]
        sights = [sight for name in names for sight in find(name, [CLEAN])]
        seen = [sight for sight in sights if sight is not None]
        if signal in ("detector", "sharpness") and not all(signal in sight.signals for sight in seen):
            raise EdgefrError(
                f"pictures that tell the signal {signal}",
                "aligned faces",
                "give photographs and a detector with --detector",
            )
        places += [start + index for index, sight in enumerate(sights) if sight is not None]
        if seen:
            answer = recogniser.embed(np.stack([sight.face for sight in seen]))
            embeddings.append(answer.embedding)
            if signal is not None:
                qualities.append(_quality(signal, answer, seen))
        if progress is not None:
            progress(len(names))
    if not embeddings:
        raise EdgefrError(
            f"a face in at least one of {len(chosen.names)} pictures",
            "none",
            "give pictures of faces turned to the camera",
        )
    quality = np.concatenate(qualities) if qualities else None
    return _Found(np.array(places, np.int64), np.concatenate(embeddings), quality)


def _quality(signal: Signal, answer: Embeddings, seen: Sequence[FaceCrop]) -> Floats:
    """What a signal says of faces (N,), higher for a better one."""
    if signal == "norm":
        return answer.norm
    if signal == "certainty":
        assert answer.uncertainty is not None  # the model was asked for it
        return -answer.uncertainty
    return np.array([sight.signals[signal] for sight in seen], np.float32)


def _threshold(embedding: Floats, labels: Ints, fmr: float, recogniser: Recogniser, chosen: Chosen) -> Threshold:
    found = threshold_at_fmr(embedding, labels, fmr)
    description = recogniser.description
    measured_on = (
        f"{found.pairs:,} impostor pairs of {found.people:,} people in {chosen.whose}, with {description.runtime}"
    )
    return Threshold(found.fmr, found.value, found.ci95, measured_on, description.precision)


def _limit(quality: Floats, signal: Signal, chosen: Chosen) -> QualityLimit:
    measured_on = f"{len(quality):,} faces in {chosen.whose}, of which {DISCARD:.0%} lie below"
    return QualityLimit(signal, limit_at(quality, DISCARD), measured_on)
