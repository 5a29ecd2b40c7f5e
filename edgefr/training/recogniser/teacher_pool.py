"""A pool of face-like pictures with a teacher's embeddings, made once and mapped from disk."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from edgefr.training.common.parallel import World
from edgefr.training.common.progress import Progress
from edgefr.training.common.recipes import check_setting
from edgefr.training.recogniser.augmented_views import NOBODY
from edgefr.training.recogniser.face_tensors import BATCH
from edgefr.training.recogniser.face_variations import variation
from edgefr.training.recogniser.feature_shards import Advance, Records, ShardReader, Shards, shard_batches
from edgefr.training.recogniser.teacher import Teacher
from edgefr.training.recogniser.training_faces import Ints, TrainingFaces
from edgefr.types import FACE_SIZE, Faces, Image

SEED = 5
"""Independent of the recipe: recipes with the same faces and teacher share a pool."""


@dataclass(frozen=True)
class Pool:
    """N pictures that are used as training faces.

    Attributes:
        key: SHA-256 of what the pool is made from.
        people: Number of people.
        labels: (N,) labels, -1 for a picture of nobody.
        targets: (N, D) unit embeddings of the teacher.
        reader: Reads the records of pictures.
    """

    key: str
    people: int
    labels: Ints
    targets: Tensor
    reader: ShardReader

    def __len__(self) -> int:
        return len(self.labels)

    def read(self, indices: Sequence[int] | Ints) -> Faces:
        """(B,) indices -> (B, 112, 112, 3) uint8 RGB."""
        faces: Faces = self.reader(np.asarray(indices))["face"]
        return faces

    def digest(self) -> str:
        """SHA-256 of what the pool is made from."""
        return self.key


def open_pool(
    faces: TrainingFaces, size: int, teacher: Teacher, folder: Path, progress: Progress, world: World
) -> Pool:
    """Open a pool of all faces and of variations of them; missing shards are made first.

    Args:
        faces: The training faces.
        size: Number of pictures in all.
        teacher: Gives the embeddings.
        folder: Folder of all pools; each has a folder of its own, named by its key.
        progress: Shows the work.
        world: The processes that train together.

    Returns:
        The pool.

    Raises:
        EdgefrError: The pool is smaller than the number of faces, the disk is too small, another run is making the
            pool, or a picture or a shard is damaged.
    """
    check_setting(size >= len(faces), "pool", f"at least {len(faces)}, the number of faces", size)
    key = hashlib.sha256(json.dumps([faces.digest(), size, teacher.digest]).encode()).hexdigest()
    shards = Shards(folder / key[:16], key, size, _record_dtype(teacher.dim))

    def make_records(start: int, advance: Advance) -> Records:
        rows = []
        for numbers in shard_batches(start, size, BATCH):
            rows.append(_make_records([_make_picture(faces, int(number)) for number in numbers], teacher))
            advance(len(numbers))
        return np.concatenate(rows)

    shards.fill(("Embedding with the teacher", "Checking the pool"), make_records, progress, world)
    targets = torch.from_numpy(shards.column("aim"))
    return Pool(key, faces.people, shards.column("label"), targets, ShardReader(shards))


def _make_picture(faces: TrainingFaces, number: int) -> tuple[Image, int]:
    """The picture of this number, always the same, and its label."""
    index = number % len(faces)
    label = int(faces.labels[index])
    if number < len(faces):
        return faces.read([index])[0], label
    rng = np.random.default_rng((SEED, number))
    face, other = faces.read([index, int(rng.integers(len(faces)))])
    picture, same = variation(face, other, rng)
    return picture, label if same else NOBODY


def _make_records(pictures: list[tuple[Image, int]], teacher: Teacher) -> Records:
    """Records (B,) of pictures with labels and the teacher's embeddings."""
    records = np.empty(len(pictures), _record_dtype(teacher.dim))
    for row, (picture, label) in enumerate(pictures):
        records[row]["face"], records[row]["label"] = picture, label
    records["aim"] = teacher(torch.from_numpy(records["face"].copy())).cpu().numpy()
    return records


def _record_dtype(dim: int) -> np.dtype[np.void]:
    face = ("face", np.uint8, (FACE_SIZE, FACE_SIZE, 3))
    return np.dtype([face, ("aim", np.float32, (dim,)), ("label", np.int64)])
