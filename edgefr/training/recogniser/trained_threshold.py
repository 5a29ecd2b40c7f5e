"""The threshold of a newly trained model, measured on the people it was trained on."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from edgefr.data.collections import person_of
from edgefr.data.lfw_pairs import people_of, read_pairs
from edgefr.evaluation.fmr_thresholds import count_impostor_pairs, threshold_at_fmr
from edgefr.manifest import Threshold
from edgefr.training.common.progress import Progress
from edgefr.training.common.recipes import DataConfig
from edgefr.training.recogniser.training_faces import TrainingFaces
from edgefr.types import Faces, Floats

FMR = 1e-3
FACES = 2048
"""They give two million pairs; more would only take longer."""

BATCH = 16
"""Small, because on a CPU larger batches spend their time on fresh memory: 128 is half as fast per face."""


def check_threshold(faces: TrainingFaces, data: DataConfig) -> None:
    """Check before training that the threshold can be measured after it.

    Args:
        faces: The training faces.
        data: Table of the recipe.

    Raises:
        EdgefrError: There are too few pairs of different people.
    """
    count_impostor_pairs(faces.labels[_select(faces, data)], FMR)


@torch.no_grad()
def measure_threshold(
    embed: Callable[[Faces], Floats], faces: TrainingFaces, data: DataConfig, progress: Progress
) -> Threshold:
    """Measure the threshold at FMR 1e-3 over all pairs of different people.

    Args:
        embed: Faces (B, 112, 112, 3) -> unit embeddings (B, K).
        faces: The training faces. With a pairs file, only people of its training folds count.
        data: Table of the recipe.
        progress: Shows the work.

    Returns:
        The threshold with its interval.
    """
    indices = _select(faces, data)
    rows = []
    with progress("Measuring the threshold", len(indices)) as advance:
        for start in range(0, len(indices), BATCH):
            batch = faces.read(indices[start : start + BATCH])
            rows.append(embed(batch))
            advance(len(batch))
    found = threshold_at_fmr(np.concatenate(rows), faces.labels[indices], FMR)
    folds = f" of LFW folds {', '.join(map(str, _training_folds(data)))}" if _training_folds(data) else ""
    measured_on = f"{found.pairs:,} impostor pairs of {found.people:,} people{folds}, who were also trained on"
    return Threshold(found.fmr, found.value, found.ci95, measured_on, "fp32")


def _training_folds(data: DataConfig) -> tuple[int, ...]:
    """The folds whose people are trained on; none if there are no pairs, or if people of all folds are held out."""
    return () if data.pairs is None else tuple(fold for fold in range(1, 11) if fold not in data.test_folds)


def _select(faces: TrainingFaces, data: DataConfig) -> list[int]:
    """Indices of at most `FACES` faces, evenly spread over those of the training folds' people, or over all."""
    indices = list(range(len(faces)))
    if data.pairs is not None and _training_folds(data):
        people = people_of(read_pairs(data.pairs), _training_folds(data))
        indices = [index for index in indices if person_of(faces.names[index]) in people]
    return [indices[at] for at in np.linspace(0, len(indices) - 1, min(FACES, len(indices))).astype(int)]
