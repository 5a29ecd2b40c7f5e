"""Fine-tuning of a backbone with AdaFace loss on the people of a recipe."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

from edgefr.nn.backbone import Backbone
from edgefr.nn.margin_heads import build_head
from edgefr.training.common.loop import train_stage
from edgefr.training.common.optimizer import weight_decay_groups
from edgefr.training.common.parallel import World
from edgefr.training.common.recipes import Schedule
from edgefr.training.common.stages import ConfigureStage
from edgefr.training.recogniser.augmented_views import AugmentedBatch, AugmentedDataset, shuffled_batches
from edgefr.training.recogniser.face_tensors import face_batches, to_input
from edgefr.training.recogniser.training_faces import FaceImages

HEAD_LR_SCALE = 10.0


def finetune_backbone(
    backbone: Backbone, dataset: AugmentedDataset, schedule: Schedule, configure: ConfigureStage, world: World
) -> None:
    """Fine-tune a backbone in place. BatchNorm keeps the statistics of its large training set.

    Class weights start at the mean embeddings of the people: with two images of each they would not get there.

    Args:
        backbone: The backbone; frozen afterwards.
        dataset: Augmented training faces.
        schedule: Length and optimiser.
        configure: The open stage.
        world: The processes that train together.

    Raises:
        TrainingStoppedError: A signal arrived.
        EdgefrError: Training diverges, or a picture is damaged.
    """
    backbone.requires_grad_(True).eval()
    head = build_head("adaface", backbone.embedding_dim, dataset.faces.people).to(world.device).train()
    with torch.no_grad():
        head.weight.copy_(class_means(backbone, dataset.faces, world))

    def batches(start: int) -> Iterator[AugmentedBatch]:
        return dataset.loader(shuffled_batches(len(dataset), schedule, dataset.seed, world, start, fresh=True))

    def compute_losses(batch: AugmentedBatch) -> dict[str, Tensor]:
        with world.autocast():
            embedding = backbone(to_input(batch.image, world)).embedding
        return {"labels": head.loss(embedding.float(), batch.label.to(world.device))}

    groups = [
        *weight_decay_groups(backbone),
        {"params": list(head.parameters()), "scale": HEAD_LR_SCALE, "weight_decay": 0.0},
    ]
    modules: dict[str, torch.nn.Module] = {"backbone": backbone, "head": head}
    train_stage(configure(modules, groups, schedule, len(dataset)), batches, compute_losses)
    backbone.requires_grad_(False)


@torch.no_grad()
def class_means(backbone: Backbone, faces: FaceImages, world: World) -> Tensor:
    """Mean unit embedding of every person, (people, D)."""
    means = torch.zeros(faces.people, backbone.embedding_dim, device=world.device)
    for indices, images in face_batches(faces):
        with world.autocast():
            embedding = backbone(to_input(images, world)).embedding
        labels = torch.from_numpy(faces.labels[indices]).to(world.device)
        means.index_add_(0, labels, F.normalize(embedding.float()))
    return F.normalize(means)
