"""Faces as batches of tensors for a backbone."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from edgefr.nn.fused_model import normalise
from edgefr.training.common.parallel import World
from edgefr.training.common.progress import Progress
from edgefr.training.recogniser.training_faces import FaceImages, Ints

BATCH = 32
"""Small, because on a CPU larger batches spend their time on fresh memory: 128 is half as fast per face."""


def to_input(faces: Tensor, world: World) -> Tensor:
    """uint8 (B, 112, 112, 3) -> float (B, 3, 112, 112) in [-1, 1], channels last, which convolutions prefer."""
    return normalise(faces.to(world.device)).contiguous(memory_format=torch.channels_last)


def face_batches(faces: FaceImages) -> Iterator[tuple[Ints, Tensor]]:
    """All faces in order: indices (B,) and images (B, 112, 112, 3) uint8."""
    for start in range(0, len(faces), BATCH):
        indices = np.arange(start, min(start + BATCH, len(faces)))
        yield indices, torch.from_numpy(faces.read(indices))


def embed_faces(embed: Callable[[Tensor], Tensor], faces: FaceImages, progress: Progress) -> Tensor:
    """Embed all faces.

    Args:
        embed: (B, 112, 112, 3) uint8 -> (B, D).
        faces: N faces.
        progress: Shows the work.

    Returns:
        (N, D).
    """
    rows = []
    with progress("Embedding clean faces", len(faces)) as advance:
        for indices, images in face_batches(faces):
            rows.append(embed(images))
            advance(len(indices))
    return torch.cat(rows)
