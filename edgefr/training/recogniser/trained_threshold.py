"""The threshold of a model that was just trained, measured on the people it was trained on."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from edgefr.data.collections import person_of
from edgefr.data.lfw_pairs import people_of, read_pairs
from edgefr.evaluation.fmr_thresholds import count_impostor_pairs, threshold_at_fmr
from edgefr.manifest import Threshold
from edgefr.training.common.progress import Progress
from edgefr.training.common.recipes import Data
from edgefr.training.recogniser.training_faces import TrainingFaces
from edgefr.types import Faces, Floats

FMR = 1e-3
FACES = 2048
"""Two million pairs; more would only take longer."""
BATCH = 16
"""Small: on a processor larger ones spend their time on fresh memory, half as fast a face at 128."""


def check_threshold(faces: TrainingFaces, data: Data) -> None:
    """Find out before training whether the threshold can be measured after it.

    Raises:
        EdgefrError: there are too few pairs of different people.
    """
    count_impostor_pairs(faces.labels[_chosen(faces, data)], FMR)


@torch.no_grad()
def measured_threshold(
    embed: Callable[[Faces], Floats], faces: TrainingFaces, data: Data, progress: Progress
) -> Threshold:
    """The threshold at FMR 1e-3 over all pairs of different people, of LFW's training folds where there are."""
    chosen = _chosen(faces, data)
    rows = []
    with progress("Measuring the threshold", len(chosen)) as advance:
        for start in range(0, len(chosen), BATCH):
            batch = faces.read(chosen[start : start + BATCH])
            rows.append(embed(batch))
            advance(len(batch))
    found = threshold_at_fmr(np.concatenate(rows), faces.labels[chosen], FMR)
    whose = "" if data.pairs is None else f" of LFW folds {', '.join(map(str, _folds(data)))}"
    measured_on = f"{found.pairs:,} impostor pairs of {found.people:,} people{whose}, who were also trained on"
    return Threshold(found.fmr, found.value, found.ci95, measured_on, "fp32")


def _folds(data: Data) -> tuple[int, ...]:
    return tuple(fold for fold in range(1, 11) if fold not in data.test_folds)


def _chosen(faces: TrainingFaces, data: Data) -> list[int]:
    """Places of the faces to measure on, evenly spread over those of the training folds' people."""
    places = list(range(len(faces)))
    if data.pairs is not None:
        people = people_of(read_pairs(data.pairs), _folds(data))
        places = [place for place in places if person_of(faces.names[place]) in people]
    return [places[index] for index in np.linspace(0, len(places) - 1, min(FACES, len(places))).astype(int)]
