"""A partner for the second seat: a backbone fine-tuned with AdaFace loss on a recipe's own people."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from edgefr.nn.backbone import Backbone
from edgefr.nn.heads import AdaFaceHead
from edgefr.train.faces import TrainingFaces, as_input, look
from edgefr.train.loop import Report, descend
from edgefr.train.recipe import Schedule

CLEAN = 0.5
HEAD_LR_SCALE = 10.0


def finetune(
    backbone: Backbone,
    data: TrainingFaces,
    schedule: Schedule,
    *,
    seed: int,
    key: str,
    state: Path,
    report: Report,
) -> None:
    """Fine-tune `backbone` in place; its BatchNorm statistics stay those of its large training set.

    The class weights start at the people's mean embeddings: with two images a person they would not get there.
    """
    backbone.requires_grad_(True).eval()
    head = AdaFaceHead(backbone.embedding_dim, data.people).train()
    head.weight.data = class_means(backbone, data)

    def loss_of(step: int) -> Tensor:
        rng = np.random.default_rng((seed, 1, step))
        chosen = rng.integers(0, len(data.faces), schedule.batch)
        with torch.autocast("cpu", torch.bfloat16):
            embedding = backbone(look(data.faces[chosen], rng, CLEAN)).embedding
        logits = head(embedding.float(), torch.from_numpy(data.labels[chosen]))
        return F.cross_entropy(logits, torch.from_numpy(data.labels[chosen]))

    groups: list[dict[str, Any]] = [
        {"params": list(backbone.parameters())},
        {"params": list(head.parameters()), "scale": HEAD_LR_SCALE, "weight_decay": 0.0},
    ]
    modules = {"backbone": backbone, "head": head}
    descend(loss_of, modules, groups, schedule, seed=seed, key=key, state=state, report=report)
    backbone.requires_grad_(False)


@torch.no_grad()
def class_means(backbone: Backbone, data: TrainingFaces) -> Tensor:
    """Mean unit embedding of every person, (people, D)."""
    means = torch.zeros(data.people, backbone.embedding_dim)
    for start in range(0, len(data.faces), 64):
        with torch.autocast("cpu", torch.bfloat16):
            embedding = backbone(as_input(data.faces[start : start + 64])).embedding
        means.index_add_(0, torch.from_numpy(data.labels[start : start + 64]), F.normalize(embedding.float()))
    return F.normalize(means)
