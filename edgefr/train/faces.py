"""The faces a recipe trains on, and the two ways it looks at them: warped a little, and degraded."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from edgefr.data.degrade import Rng, random_degradation
from edgefr.data.faces import open_faces, person_of
from edgefr.data.lfw import people_of, read_pairs
from edgefr.errors import EdgefrError
from edgefr.nn.fused import normalised
from edgefr.spec import FACE_SIZE, Faces, Image
from edgefr.train.loop import Progress, silent
from edgefr.train.recipe import Data


@dataclass(frozen=True)
class TrainingFaces:
    """Aligned faces (N, 112, 112, 3) of people who are in no test pair; `labels` (N,) count them from 0."""

    faces: Faces
    labels: npt.NDArray[np.int64]
    names: tuple[str, ...]

    @property
    def people(self) -> int:
        return int(self.labels.max()) + 1

    def describe(self, data: Data) -> str:
        folds = ", ".join(map(str, data.test_folds))
        return (
            f"{len(self.faces):,} aligned faces of {self.people:,} people from {data.faces.name}, none of whom is "
            f"in a pair of folds {folds} of {data.pairs.name}"
        )


def read_training_faces(data: Data, progress: Progress = silent) -> TrainingFaces:
    """Everyone outside the test folds.

    Raises:
        EdgefrError: the data is missing or nobody is left.
    """
    held_out = people_of(read_pairs(data.pairs), data.test_folds)
    folder = open_faces(data.faces)
    if held_out and held_out.isdisjoint(folder.people()):
        raise EdgefrError(
            f"expected pictures as Name/picture.jpg with the names of {data.pairs} in {data.faces}, found none of the "
            "people to hold out: give the faces that belong to the pairs file"
        )
    names = tuple(name for name in folder.names if person_of(name) not in held_out)
    if not names:
        raise EdgefrError(
            f"expected people outside folds {data.test_folds} in {data.faces}, found none: correct data.test_folds"
        )
    if data.limit is not None:
        chosen = np.unique(np.linspace(0, len(names) - 1, min(data.limit, len(names))).astype(int))
        names = tuple(names[index] for index in chosen)
    _, labels = np.unique([person_of(name) for name in names], return_inverse=True)
    with progress("Reading faces", len(names)) as advance:
        return TrainingFaces(folder.read_faces(names, advance), labels.astype(np.int64), names)


def look(faces: Faces, rng: Rng, clean: float) -> Tensor:
    """A batch as a camera may see it: warped and flipped, and all but a share of `clean` degraded.

    (B, 112, 112, 3) uint8 -> (B, 3, 112, 112) in [-1, 1], channels last.
    """
    seen = [warp(face, rng) if rng.random() < clean else random_degradation(warp(face, rng), rng) for face in faces]
    return as_input(np.stack(seen))


def as_input(faces: Faces) -> Tensor:
    """uint8 (B, 112, 112, 3) -> float (B, 3, 112, 112) in [-1, 1]; channels last, which convolutions prefer."""
    return normalised(torch.from_numpy(faces)).contiguous(memory_format=torch.channels_last)


def warp(face: Image, rng: Rng) -> Image:
    """Flipped half of the time; turned, scaled and moved about as much as a detector's landmarks err."""
    if rng.random() < 0.5:
        face = np.ascontiguousarray(face[:, ::-1])
    middle = (FACE_SIZE - 1) / 2
    matrix = cv2.getRotationMatrix2D((middle, middle), rng.normal(0, 2), float(np.exp(rng.normal(0, 0.02))))
    matrix[:, 2] += rng.normal(0, 1, 2)
    return np.asarray(cv2.warpAffine(face, matrix, (FACE_SIZE, FACE_SIZE), flags=cv2.INTER_LINEAR), np.uint8)
