"""A partner for the second seat: a backbone fine-tuned with AdaFace loss on a recipe's own people."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from edgefr.nn.backbone import Backbone
from edgefr.nn.margin_heads import build_head
from edgefr.training.common.loop import Stage, decayed_apart, descend
from edgefr.training.common.parallel import World
from edgefr.training.common.recipes import Schedule
from edgefr.training.recogniser.augmented_views import Shown, ViewSet, shuffled
from edgefr.training.recogniser.face_tensors import BATCH, as_input
from edgefr.training.recogniser.training_faces import Pictures

HEAD_LR_SCALE = 10.0


def finetune(
    backbone: Backbone, views: ViewSet, schedule: Schedule, stage_of: Callable[..., Stage], world: World
) -> None:
    """Fine-tune `backbone` in place; its BatchNorm statistics stay those of its large training set.

    The class weights start at the people's mean embeddings: with two images a person they would not get there.
    """
    backbone.requires_grad_(True).eval()
    head = build_head("adaface", backbone.embedding_dim, views.faces.people).to(world.device).train()
    with torch.no_grad():
        head.weight.copy_(class_means(backbone, views.faces, world))

    def batches(first: int) -> Iterator[Shown]:
        return iter(views.loader(shuffled(len(views), schedule, views.seed, world, first, fresh=True)))

    def losses_of(shown: Shown) -> dict[str, Tensor]:
        with world.autocast():
            embedding = backbone(as_input(shown.seen, world)).embedding
        return {"labels": head.loss(embedding.float(), shown.label.to(world.device))}

    groups = [
        *decayed_apart(backbone),
        {"params": list(head.parameters()), "scale": HEAD_LR_SCALE, "weight_decay": 0.0},
    ]
    modules: dict[str, torch.nn.Module] = {"backbone": backbone, "head": head}
    descend(stage_of(modules, groups, schedule, len(views)), batches, losses_of)
    backbone.requires_grad_(False)


@torch.no_grad()
def class_means(backbone: Backbone, faces: Pictures, world: World) -> Tensor:
    """Mean unit embedding of every person, (people, D)."""
    means = torch.zeros(faces.people, backbone.embedding_dim, device=world.device)
    for start in range(0, len(faces), BATCH):
        chosen = np.arange(start, min(start + BATCH, len(faces)))
        with world.autocast():
            embedding = backbone(as_input(torch.from_numpy(faces.read(chosen)), world)).embedding
        labels = torch.from_numpy(faces.labels[chosen]).to(world.device)
        means.index_add_(0, labels, F.normalize(embedding.float()))
    return F.normalize(means)
