"""Face-like pictures with a teacher's answers, made once and mapped from disk: training then needs no teacher."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from edgefr.training.common.parallel import World
from edgefr.training.common.progress import Progress
from edgefr.training.common.recipes import require
from edgefr.training.recogniser.augmented_views import NOBODY
from edgefr.training.recogniser.face_tensors import BATCH
from edgefr.training.recogniser.face_variations import variation
from edgefr.training.recogniser.feature_shards import Advance, Records, Shards, numbers_of
from edgefr.training.recogniser.teacher import Teacher
from edgefr.training.recogniser.training_faces import TrainingFaces
from edgefr.types import FACE_SIZE, Faces, Image

SEED = 5
"""Not a recipe's: recipes of the same faces and teacher share a pool."""


@dataclass(frozen=True)
class Pool:
    """Pictures that are shown as faces are, of `people`; `aims` (N, D) are the teacher's unit embeddings."""

    key: str
    people: int
    labels: npt.NDArray[np.int64]
    aims: Tensor
    records: Callable[[npt.NDArray[np.int64]], Records]

    def __len__(self) -> int:
        return len(self.labels)

    def read(self, chosen: Sequence[int] | npt.NDArray[np.int64]) -> Faces:
        """(B,) places -> (B, 112, 112, 3) uint8 RGB."""
        faces: Faces = self.records(np.asarray(chosen))["face"]
        return faces

    def digest(self) -> str:
        return self.key


def open_pool(
    faces: TrainingFaces, size: int, teacher: Teacher, folder: Path, progress: Progress, world: World
) -> Pool:
    """All faces as they are, then variations of them, `size` in all; those that are missing are made first.

    Raises:
        EdgefrError: the pool is smaller than the faces are many, the disk is too small, another run is making the
            pool, or a picture or a shard is damaged.
    """
    require(size >= len(faces), "pool", f"at least {len(faces)}, the number of faces", size)
    told = json.dumps([faces.digest(), size, teacher.digest])
    key = hashlib.sha256(told.encode()).hexdigest()
    shards = Shards(folder / key[:16], key, size, _record_type(teacher.dim))

    def records_of(start: int, advance: Advance) -> Records:
        rows = []
        for numbers in numbers_of(start, size, BATCH):
            rows.append(_records([_picture(faces, int(number)) for number in numbers], teacher))
            advance(len(numbers))
        return np.concatenate(rows)

    shards.fill(("Asking the teacher", "Checking the pool"), records_of, progress, world)
    aims = torch.from_numpy(shards.column("aim"))
    return Pool(key, faces.people, shards.column("label"), aims, shards.open())


def _picture(faces: TrainingFaces, number: int) -> tuple[Image, int]:
    """The picture of this number, always the same, and its label."""
    place = number % len(faces)
    label = int(faces.labels[place])
    if number < len(faces):
        return faces.read([place])[0], label
    rng = np.random.default_rng((SEED, number))
    face, other = faces.read([place, int(rng.integers(len(faces)))])
    picture, same = variation(face, other, rng)
    return picture, label if same else NOBODY


def _records(pictures: list[tuple[Image, int]], teacher: Teacher) -> Records:
    """Pictures with labels as records (B,), the teacher's answers beside them."""
    records = np.empty(len(pictures), _record_type(teacher.dim))
    for row, (picture, label) in enumerate(pictures):
        records[row]["face"], records[row]["label"] = picture, label
    records["aim"] = teacher(torch.from_numpy(records["face"].copy())).cpu().numpy()
    return records


def _record_type(dim: int) -> np.dtype[np.void]:
    face = ("face", np.uint8, (FACE_SIZE, FACE_SIZE, 3))
    return np.dtype([face, ("aim", np.float32, (dim,)), ("label", np.int64)])
