"""Optimiser, learning rate and gradient clipping."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from edgefr.training.common.parallel import World
from edgefr.training.common.recipes import Schedule

MAX_GRADIENT_NORM = 5.0
DROP_FACTOR = 0.1


def learning_rate_factor(schedule: Schedule, step: int, steps: int, samples: int) -> float:
    """Factor on the learning rate of a step.

    With `drops` it is a tenth after each of these epochs. Otherwise it rises linearly over the first twentieth of the
    steps and falls as a half cosine (Loshchilov & Hutter 2017).

    Args:
        schedule: The schedule of the stage.
        step: Number of the step, from 0.
        steps: Steps of the stage.
        samples: Samples of one epoch.

    Returns:
        A factor from 0 to 1.
    """
    if schedule.drops:
        epoch = step // schedule.steps_per_epoch(samples)
        return float(DROP_FACTOR ** sum(epoch >= drop for drop in schedule.drops))
    warmup = max(1, steps // 20)
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


def weight_decay_groups(module: nn.Module, **options: Any) -> list[dict[str, Any]]:
    """Two parameter groups of a module's trainable parameters: weights, and norms and biases without weight decay.

    Args:
        module: Parameters that require no gradient are left out.
        options: Added to both groups, for example `scale` or `sharded` (see `StageConfig`).

    Returns:
        The groups; one of them may be empty.
    """
    trainable = [parameter for parameter in module.parameters() if parameter.requires_grad]
    return [
        {"params": [parameter for parameter in trainable if parameter.ndim > 1], **options},
        {"params": [parameter for parameter in trainable if parameter.ndim <= 1], **options, "weight_decay": 0.0},
    ]


def build_optimizer(groups: list[dict[str, Any]], schedule: Schedule) -> torch.optim.Optimizer:
    """AdamW or SGD over parameter groups as `StageConfig.groups` describes them."""
    groups = [{"scale": 1.0, "sharded": False, **group} for group in groups if group["params"]]
    if schedule.optimizer == "sgd":
        return torch.optim.SGD(groups, schedule.lr, momentum=schedule.momentum, weight_decay=schedule.weight_decay)
    return torch.optim.AdamW(groups, schedule.lr, weight_decay=schedule.weight_decay, fused=True)


def clip_gradients(optimizer: torch.optim.Optimizer, world: World) -> float:
    """Average the gradients over all processes, then limit their norm; returns the norm before.

    The weights of a sharded head exist once. Their gradients are not averaged, but those of all processes count in
    the norm.
    """
    shared: list[nn.Parameter] = []
    sharded: list[nn.Parameter] = []
    for group in optimizer.param_groups:
        (sharded if group["sharded"] else shared).extend(p for p in group["params"] if p.grad is not None)
    world.mean(parameter.grad for parameter in shared if parameter.grad is not None)
    own = nn.utils.get_total_norm([p.grad for p in sharded if p.grad is not None]).to(world.device)
    squares = own.square().reshape(1)
    world.mean([squares])
    norm = nn.utils.get_total_norm([p.grad for p in shared if p.grad is not None])
    norm = (norm.square() + squares[0] * world.size).sqrt()
    nn.utils.clip_grads_with_norm_([*shared, *sharded], MAX_GRADIENT_NORM, norm)
    return norm.item()
