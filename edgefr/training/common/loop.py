"""The loop that every stage of training runs in, from top to bottom."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from edgefr.errors import EdgefrError
from edgefr.training.common.parallel import World
from edgefr.training.common.recipes import Schedule
from edgefr.training.common.training_state import load_state, save_state

Batch = TypeVar("Batch")

SAVE_SECONDS = 60.0
GRADIENT_NORM = 5.0
DROP = 0.1


@dataclass(frozen=True)
class Step:
    """What a step reports: its number (from 1) of `steps`, images seen by it, and figures to log.

    A run that goes on first reports the step it goes on from, without figures.
    """

    step: int
    steps: int
    images: int
    figures: Mapping[str, float]


@dataclass(frozen=True)
class Stage:
    """What is trained and where its state is kept.

    `groups` are the optimiser's, with `scale` as factor on the learning rate and `sharded` for weights that each
    process has for itself. `key` says what went in, so that a state of something else is not taken up. `views`
    are those that an epoch has.
    """

    modules: Mapping[str, nn.Module]
    groups: list[dict[str, Any]]
    schedule: Schedule
    views: int
    seed: int
    key: str
    state: Path
    report: Callable[[Step], None]
    world: World = field(default_factory=World)


def descend(
    stage: Stage, batches: Callable[[int], Iterator[Batch]], losses_of: Callable[[Batch], dict[str, Tensor]]
) -> None:
    """Take all steps of the stage down the sum of `losses_of(batch)`; go on where a killed run left its state.

    What has no gradient among the losses is no part of the sum: it is only logged.

    `batches(n)` gives the batches from the n-th on. All randomness of a step comes from the seed and the step's
    number, so a run continued after a kill takes the same steps as one that was never stopped.

    Raises:
        EdgefrError: a loss or gradient is not finite (the state before that step is saved).
    """
    schedule, world = stage.schedule, stage.world
    steps = schedule.length(stage.views)
    optimizer = _optimizer(stage.groups, schedule)
    modules = dict(stage.modules)
    buffers = [buffer for module in modules.values() for buffer in module.buffers()]
    # BatchNorm's and margin heads' running statistics.
    statistics = [buffer for buffer in buffers if buffer.is_floating_point()]
    average = _running_average(stage) if schedule.ema else None
    if average is not None:
        modules["ema"] = average
    state = stage.state if world.first else stage.state.with_suffix(f".{world.rank}{stage.state.suffix}")
    start = load_state(state, stage.key, modules, optimizer)
    if world.largest(start) != -world.largest(-start):
        raise EdgefrError(
            f"the states of all processes beside {stage.state} at one step",
            "others",
            f"remove {stage.state.with_suffix('')}* to start anew",
        )
    images = schedule.batch * schedule.accumulate
    if start < steps:
        batch_of = batches(start * schedule.accumulate)
        if start:
            stage.report(Step(start, steps, images, {}))
    saved = time.monotonic()
    for step in range(start, steps):
        torch.manual_seed((stage.seed * 1_000_003 + step) * world.size + world.rank)
        rate = schedule.lr * rate_factor(schedule, step, steps, stage.views)
        for group in optimizer.param_groups:
            group["lr"] = rate * group["scale"]
        before = [buffer.clone() for buffer in buffers]
        figures = _accumulate(optimizer, batch_of, losses_of, schedule.accumulate)
        gradient = _clip(optimizer, world)
        figures |= {"lr": rate, "gradient": gradient}
        if not math.isfinite(world.largest(_worst(figures))):
            # The weights are those of the step before, which had a finite gradient: worth keeping.
            for buffer, value in zip(buffers, before, strict=True):
                buffer.copy_(value)
            _save(state, stage, step, modules, optimizer)
            raise EdgefrError(
                "finite losses and gradients",
                f"{_told(figures)} at step {step} (state saved in {state})",
                "start anew with a lower learning rate, --set ...schedule.lr=...",
            )
        optimizer.step()
        world.mean(statistics)
        if average is not None:
            average.update_parameters(nn.ModuleDict(dict(stage.modules)))
        stage.report(Step(step + 1, steps, images, figures))
        if world.largest(time.monotonic() - saved) > SAVE_SECONDS:
            _save(state, stage, step + 1, modules, optimizer)
            saved = time.monotonic()
    if start < steps:
        _save(state, stage, steps, modules, optimizer)
        world.wait()
    if average is not None:
        nn.ModuleDict(dict(stage.modules)).load_state_dict(average.module.state_dict(), strict=True)


def rate_factor(schedule: Schedule, step: int, steps: int, views: int) -> float:
    """Factor on the learning rate: a tenth after each of the drops; else up over a twentieth, down a half cosine."""
    if schedule.drops:
        epoch = step // schedule.steps_of_an_epoch(views)
        return float(DROP ** sum(epoch >= drop for drop in schedule.drops))
    warm = max(1, steps // 20)
    if step < warm:
        return (step + 1) / warm
    return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))


def decayed_apart(module: nn.Module, **options: Any) -> list[dict[str, Any]]:
    """A module's trained parameters as two groups: norms and biases, which weight decay leaves alone, apart."""
    trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
    return [
        {"params": [parameter for parameter in trained if parameter.ndim > 1], **options},
        {"params": [parameter for parameter in trained if parameter.ndim <= 1], **options, "weight_decay": 0.0},
    ]


def _optimizer(groups: list[dict[str, Any]], schedule: Schedule) -> torch.optim.Optimizer:
    groups = [{"scale": 1.0, "sharded": False, **group} for group in groups if group["params"]]
    if schedule.optimizer == "sgd":
        return torch.optim.SGD(groups, schedule.lr, momentum=schedule.momentum, weight_decay=schedule.weight_decay)
    return torch.optim.AdamW(groups, schedule.lr, weight_decay=schedule.weight_decay, fused=True)


def _running_average(stage: Stage) -> AveragedModel:
    average = get_ema_multi_avg_fn(stage.schedule.ema)  # type: ignore[no-untyped-call]
    return AveragedModel(nn.ModuleDict(dict(stage.modules)), multi_avg_fn=average, use_buffers=True)


def _accumulate(
    optimizer: torch.optim.Optimizer,
    batch_of: Iterator[Batch],
    losses_of: Callable[[Batch], dict[str, Tensor]],
    count: int,
) -> dict[str, float]:
    """Gradients of the mean loss over `count` batches; the means of its parts and of their sum, for the log."""
    optimizer.zero_grad()
    figures: dict[str, float] = {}
    for _ in range(count):
        losses = losses_of(next(batch_of))
        total = torch.stack([loss for loss in losses.values() if loss.requires_grad]).sum() / count
        total.backward()  # type: ignore[no-untyped-call]
        for name, value in (losses | {"loss": total * count}).items():
            figures[name] = figures.get(name, 0.0) + value.item() / count
    return figures


def _clip(optimizer: torch.optim.Optimizer, world: World) -> float:
    """Average the gradients over all processes, then limit their norm; returns the norm before.

    A sharded head's weights exist once: their gradients are not averaged, but all processes' count in the norm.
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
    nn.utils.clip_grads_with_norm_([*shared, *sharded], GRADIENT_NORM, norm)
    return norm.item()


def _save(
    path: Path, stage: Stage, step: int, modules: Mapping[str, nn.Module], optimizer: torch.optim.Optimizer
) -> None:
    """All processes' states take the place of those before once all are written: states of different steps could
    not be put together."""
    fresh = path.with_suffix(".new")
    save_state(fresh, stage.key, step, modules, optimizer)
    stage.world.wait()
    fresh.replace(path)


def _worst(figures: Mapping[str, float]) -> float:
    """Infinity if any figure is not finite (a NaN would be lost in a maximum over processes)."""
    return 0.0 if all(map(math.isfinite, figures.values())) else math.inf


def _told(figures: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.3g}" for name, value in figures.items())
