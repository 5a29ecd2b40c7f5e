"""Who is imitated: a fused model or a backbone, and what it says of clean faces."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from edgefr.io.files import sha256_of
from edgefr.nn.fused_model import FusedModel, is_fused, load_fused
from edgefr.nn.upstream_checkpoints import backbone_from_checkpoint
from edgefr.training.common.parallel import World
from edgefr.training.common.progress import Progress
from edgefr.training.common.recipes import Recipe, require
from edgefr.training.recogniser.face_tensors import BATCH, as_input
from edgefr.training.recogniser.training_faces import Pictures


class Teacher:
    """A frozen net whose embeddings of clean faces are aims, `dim` values each; `digest` is its file's SHA-256."""

    def __init__(self, path: Path, world: World) -> None:
        """Load a fused checkpoint or a backbone's.

        Raises:
            EdgefrError: it is missing or neither of them.
        """
        self.world, self.digest = world, sha256_of(path)
        self.net = (load_fused(path) if is_fused(path) else backbone_from_checkpoint(path)).to(world.device)
        self.dim = (
            self.net.spec.fusion.embedding_dim if isinstance(self.net, FusedModel) else int(self.net.embedding_dim)
        )

    @torch.no_grad()
    def __call__(self, clean: Tensor) -> Tensor:
        """Faces (B, 112, 112, 3) uint8 -> unit embeddings (B, dim), averaged over face and mirror image."""
        with self.world.autocast():
            image = as_input(torch.cat([clean, clean.flip(2)]), self.world)
            if isinstance(self.net, FusedModel):
                embedding = self.net.encode(self.net.backbone_features(image)).mu
            else:
                embedding = self.net(image).embedding
        straight, mirrored = embedding.float().chunk(2)
        both: Tensor = F.normalize(F.normalize(straight) + F.normalize(mirrored))
        return both

    def of_all(self, faces: Pictures, progress: Progress) -> Tensor:
        """What it says of all of them, (N, dim)."""
        rows = []
        with progress("Embedding clean faces", len(faces)) as advance:
            for start in range(0, len(faces), BATCH):
                chosen = np.arange(start, min(start + BATCH, len(faces)))
                rows.append(self(torch.from_numpy(faces.read(chosen))))
                advance(len(chosen))
        return torch.cat(rows)


def aims_teacher(recipe: Recipe, model: FusedModel, world: World) -> Teacher | None:
    """Whose embeddings a fusion aims at, where it is not its backbones themselves.

    Raises:
        EdgefrError: the backbones' embeddings are not as long as the teacher's, or mu starts as their sum though no
            teacher made them alike.
    """
    first, second = model.backbone_a.embedding_dim, model.backbone_b.embedding_dim
    if recipe.aims is None:
        wide = recipe.fusion.skip == "none" or recipe.fusion.embedding_dim >= first + second
        expected = (
            f"at least {first + second}, both embeddings side by side, where no table aims names a teacher of both"
        )
        require(wide, "fusion.embedding_dim", expected, recipe.fusion.embedding_dim)
        return None
    teacher = Teacher(recipe.aims.teacher, world)
    expected = f"a checkpoint whose embeddings are as long as the backbones', {first} and {second}"
    require(first == second == teacher.dim, "aims.teacher", expected, teacher.dim)
    return teacher
