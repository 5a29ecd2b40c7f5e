"""The teacher of a distillation: a frozen fused model or backbone."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from edgefr.io.files import sha256_of
from edgefr.nn.fused_model import FusedModel, is_fused, load_fused
from edgefr.training.common.parallel import World
from edgefr.training.common.progress import Progress
from edgefr.training.common.recipes import FusionRecipe, check_setting
from edgefr.training.recogniser.backbone_files import open_backbone
from edgefr.training.recogniser.face_tensors import embed_faces, to_input
from edgefr.training.recogniser.training_faces import FaceImages


class Teacher:
    """A frozen network whose embeddings of clean faces are the targets.

    Attributes:
        dim: Length of its embeddings.
        digest: SHA-256 of its file.
    """

    def __init__(self, path: Path, world: World) -> None:
        """Load the network.

        Args:
            path: Checkpoint of a fused model, or a file of a backbone, which may be an .onnx file.
            world: Device to compute on.

        Raises:
            EdgefrError: The file is missing or is something else.
        """
        self.world, self.digest = world, sha256_of(path)
        self.net = (load_fused(path) if is_fused(path) else open_backbone(path)).to(world.device)
        self.dim = (
            self.net.spec.fusion.embedding_dim if isinstance(self.net, FusedModel) else int(self.net.embedding_dim)
        )

    @torch.no_grad()
    def __call__(self, clean: Tensor) -> Tensor:
        """Faces (B, 112, 112, 3) uint8 -> unit embeddings (B, dim), averaged over face and mirror image."""
        with self.world.autocast():
            image = to_input(torch.cat([clean, clean.flip(2)]), self.world)
            if isinstance(self.net, FusedModel):
                embedding = self.net.encode(self.net.backbone_features(image)).mu
            else:
                embedding = self.net(image).embedding
        straight, mirrored = embedding.float().chunk(2)
        average: Tensor = F.normalize(F.normalize(straight) + F.normalize(mirrored))
        return average

    def embed_all(self, faces: FaceImages, progress: Progress) -> Tensor:
        """Embeddings of all N faces, (N, dim)."""
        return embed_faces(self, faces, progress)


def load_target_teacher(recipe: FusionRecipe, model: FusedModel, world: World) -> Teacher | None:
    """Load the teacher of a fusion whose targets are not the embeddings of its own backbones.

    Args:
        recipe: The recipe; `aims` names the teacher.
        model: The fused model before training.
        world: Device to compute on.

    Returns:
        The teacher, or None if the recipe names none.

    Raises:
        EdgefrError: The embeddings of backbones and teacher differ in length, or mu starts as the sum of both
            embeddings without a common teacher.
    """
    first, second = model.backbone_a.embedding_dim, model.backbone_b.embedding_dim
    if recipe.aims is None:
        wide = recipe.fusion.skip == "none" or recipe.fusion.embedding_dim >= first + second
        expected = f"at least {first + second}, both embeddings concatenated, unless a table aims names a teacher"
        check_setting(wide, "fusion.embedding_dim", expected, recipe.fusion.embedding_dim)
        return None
    teacher = Teacher(recipe.aims.teacher, world)
    expected = f"a checkpoint whose embeddings are as long as the backbones', {first} and {second}"
    check_setting(first == second == teacher.dim, "aims.teacher", expected, teacher.dim)
    return teacher
