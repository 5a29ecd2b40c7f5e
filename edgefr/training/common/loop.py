"""The training loop of every stage: steps, learning rate, saving and resuming."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from edgefr.errors import EdgefrError
from edgefr.training.common.optimizer import build_optimizer, clip_gradients, learning_rate_factor
from edgefr.training.common.parallel import World
from edgefr.training.common.recipes import Schedule
from edgefr.training.common.signals import deferred_signals
from edgefr.training.common.training_state import load_state, save_state

Batch = TypeVar("Batch")

SAVE_SECONDS = 60.0


class TrainingStoppedError(EdgefrError):
    """A signal stopped the training. Its state is saved."""

    exit_code = 130

    @classmethod
    def at(cls, step: int) -> TrainingStoppedError:
        return cls("", f"Stopped at step {step}", "the same command resumes it")


@dataclass(frozen=True)
class Step:
    """Report of a finished step. A resumed run first reports the step it resumes from, without metrics.

    Attributes:
        step: Number of finished steps.
        steps: Steps of the whole stage.
        images: Images of one step.
        metrics: Losses, learning rate and gradient norm.
    """

    step: int
    steps: int
    images: int
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class StageConfig:
    """What a stage trains and where its state is saved.

    Attributes:
        modules: Everything with weights or running statistics that changes, by name.
        groups: Parameter groups of the optimiser. `scale` is a factor on the learning rate; `sharded` marks weights
            of which each process holds a different part.
        schedule: Steps, batch size and optimiser.
        samples: Samples of one epoch.
        seed: Seed of the recipe.
        key: Hash of everything the stage depends on. A state with another key is not resumed.
        state: File of the state.
        report: Called after every step.
        world: The processes that train together.
    """

    modules: Mapping[str, nn.Module]
    groups: list[dict[str, Any]]
    schedule: Schedule
    samples: int
    seed: int
    key: str
    state: Path
    report: Callable[[Step], None]
    world: World = field(default_factory=World)


def train_stage(
    stage: StageConfig, batches: Callable[[int], Iterator[Batch]], compute_losses: Callable[[Batch], dict[str, Tensor]]
) -> None:
    """Train until the last step of the stage, or resume where an earlier run saved its state.

    All randomness of a step comes from the seed and the number of the step. A resumed run therefore takes the same
    steps as one that was never stopped. SIGINT and SIGTERM stop the training after the current step.

    Args:
        stage: What is trained.
        batches: Given n, returns the batches from the n-th on.
        compute_losses: Returns the losses of a batch by name. Their sum is minimised; a loss without gradient is
            only logged.

    Raises:
        TrainingStoppedError: A signal arrived. The state is saved.
        EdgefrError: A loss or gradient is not finite (the state before that step is saved), or the saved state
            belongs to something else.
    """
    schedule, world = stage.schedule, stage.world
    steps = schedule.total_steps(stage.samples)
    optimizer = build_optimizer(stage.groups, schedule)
    average = _build_average(stage) if schedule.ema else None
    checkpoint = _Checkpoint(stage, optimizer, average)
    start = checkpoint.resume()
    if start < steps:
        with deferred_signals(repeatable=world.size == 1) as stop_requested:
            remaining = batches(start * schedule.accumulate)
            try:
                _run_steps(stage, checkpoint, average, range(start, steps), remaining, compute_losses, stop_requested)
            finally:
                if isinstance(remaining, Generator):  # stop its loading processes now, although a traceback keeps it
                    remaining.close()
        world.barrier()
    if average is not None:
        nn.ModuleDict(dict(stage.modules)).load_state_dict(average.module.state_dict(), strict=True)


def _run_steps(
    stage: StageConfig,
    checkpoint: _Checkpoint,
    average: AveragedModel | None,
    steps: range,
    batches: Iterator[Batch],
    compute_losses: Callable[[Batch], dict[str, Tensor]],
    stop_requested: Callable[[], bool],
) -> None:
    schedule, world, optimizer = stage.schedule, stage.world, checkpoint.optimizer
    buffers = [buffer for module in stage.modules.values() for buffer in module.buffers()]
    # The running statistics of BatchNorm and of margin heads.
    statistics = [buffer for buffer in buffers if buffer.is_floating_point()]
    images = schedule.batch * schedule.accumulate
    if steps.start:
        stage.report(Step(steps.start, steps.stop, images, {}))
    saved = time.monotonic()
    for step in steps:
        torch.manual_seed((stage.seed * 1_000_003 + step) * world.size + world.rank)
        rate = schedule.lr * learning_rate_factor(schedule, step, steps.stop, stage.samples)
        for group in optimizer.param_groups:
            group["lr"] = rate * group["scale"]
        before = [buffer.clone() for buffer in buffers]
        metrics = _accumulate_gradients(optimizer, batches, compute_losses, schedule.accumulate)
        metrics |= {"lr": rate, "gradient": clip_gradients(optimizer, world)}
        if not math.isfinite(world.maximum(0.0 if all(map(math.isfinite, metrics.values())) else math.inf)):
            # The weights are still those of the step before, whose gradient was finite.
            for buffer, value in zip(buffers, before, strict=True):
                buffer.copy_(value)
            checkpoint.save(step)
            raise EdgefrError(
                "finite losses and gradients",
                ", ".join(f"{name} {value:.3g}" for name, value in metrics.items())
                + f" at step {step} (the state before it is saved in {checkpoint.path})",
                "start again with a lower learning rate, --set ...schedule.lr=...",
            )
        optimizer.step()
        world.mean(statistics)
        if average is not None:
            average.update_parameters(nn.ModuleDict(dict(stage.modules)))
        stage.report(Step(step + 1, steps.stop, images, metrics))
        # All processes must decide alike: they save when the slowest is due, and stop when one was told to.
        due = world.maximum(math.inf if stop_requested() else time.monotonic() - saved)
        if due > SAVE_SECONDS or step + 1 == steps.stop:
            checkpoint.save(step + 1)
            saved = time.monotonic()
        if due == math.inf:
            raise TrainingStoppedError.at(step + 1)


class _Checkpoint:
    """The saved state of this process."""

    def __init__(self, stage: StageConfig, optimizer: torch.optim.Optimizer, average: AveragedModel | None) -> None:
        self._stage, self.optimizer = stage, optimizer
        self._modules = dict(stage.modules) | ({} if average is None else {"ema": average})
        rank = "" if stage.world.first else f".{stage.world.rank}"
        self.path = stage.state.with_suffix(f"{rank}{stage.state.suffix}")

    def resume(self) -> int:
        """Load the state, if there is one, and return the number of finished steps."""
        stage = self._stage
        start = load_state(self.path, stage.key, self._modules, self.optimizer)
        if stage.world.maximum(start) != -stage.world.maximum(-start):
            raise EdgefrError(
                f"the states of all processes next to {stage.state} at the same step",
                "different steps",
                f"remove {stage.state.with_suffix('')}* to start again",
            )
        return start

    def save(self, step: int) -> None:
        """Replace the state. All processes write before one replaces: states of different steps do not fit together."""
        new = self.path.with_suffix(".new")
        save_state(new, self._stage.key, step, self._modules, self.optimizer)
        self._stage.world.barrier()
        new.replace(self.path)


def _build_average(stage: StageConfig) -> AveragedModel:
    average = get_ema_multi_avg_fn(stage.schedule.ema)  # type: ignore[no-untyped-call]
    return AveragedModel(nn.ModuleDict(dict(stage.modules)), multi_avg_fn=average, use_buffers=True)


def _accumulate_gradients(
    optimizer: torch.optim.Optimizer,
    batches: Iterator[Batch],
    compute_losses: Callable[[Batch], dict[str, Tensor]],
    count: int,
) -> dict[str, float]:
    """Compute the gradients of the mean loss over `count` batches; returns the means of the losses and of their sum."""
    optimizer.zero_grad()
    metrics: dict[str, float] = {}
    for _ in range(count):
        losses = compute_losses(next(batches))
        total = torch.stack([loss for loss in losses.values() if loss.requires_grad]).sum() / count
        total.backward()  # type: ignore[no-untyped-call]
        for name, value in (losses | {"loss": total * count}).items():
            metrics[name] = metrics.get(name, 0.0) + value.item() / count
    return metrics
