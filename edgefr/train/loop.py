"""The loop that every stage of training runs in: seeded by step, resumable, stopped by a loss that is not finite."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from edgefr.errors import EdgefrError
from edgefr.train.checkpoint import load_state, save_state
from edgefr.train.recipe import Schedule

SAVE_SECONDS = 60.0
GRADIENT_NORM = 5.0

Report = Callable[[int, int, float], None]
"""Told the step, the number of steps and the loss, after every step."""


Progress = Callable[[str, int], AbstractContextManager[Callable[[int], None]]]
"""`with progress(title, total) as advance: advance(1)`"""


def silent(_title: str, _total: int) -> AbstractContextManager[Callable[[int], None]]:
    """A progress that nobody sees."""
    return nullcontext(lambda _count: None)


def descend(
    loss_of: Callable[[int], Tensor],
    modules: Mapping[str, nn.Module],
    groups: list[dict[str, Any]],
    schedule: Schedule,
    *,
    seed: int,
    key: str,
    state: Path,
    report: Report,
) -> None:
    """Take `schedule.steps` steps down `loss_of(step)`; go on where a killed run left `state`.

    All randomness of a step comes from `seed` and the step's number, so a run continued after a kill takes the
    same steps as one that was never stopped. `groups` are AdamW's, with `scale` as factor on the learning rate.

    Raises:
        EdgefrError: the loss is not finite (the state before that step is saved).
    """
    optimizer = torch.optim.AdamW(groups, lr=schedule.lr, weight_decay=schedule.weight_decay)
    start = load_state(state, key, modules, optimizer)
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    saved = time.monotonic()
    for step in range(start, schedule.steps):
        torch.manual_seed(seed * 1_000_003 + step)
        for group in optimizer.param_groups:
            group["lr"] = schedule.lr * group.get("scale", 1.0) * warm_cosine(step, schedule.steps)
        loss = loss_of(step)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        gradient = nn.utils.clip_grad_norm_(parameters, GRADIENT_NORM)
        if not (math.isfinite(loss.item()) and math.isfinite(gradient.item())):
            # The weights are those of the step before, which had a finite gradient: worth keeping.
            save_state(state, key, step, modules, optimizer)
            raise EdgefrError(
                f"expected a finite loss and gradient, found {loss.item():.3g} and {gradient.item():.3g} at step "
                f"{step} (state saved in {state}): start anew with a lower learning rate, --set name=ANOTHER --set "
                "distill.schedule.lr=..."
            )
        optimizer.step()
        report(step + 1, schedule.steps, loss.item())
        if time.monotonic() - saved > SAVE_SECONDS:
            save_state(state, key, step + 1, modules, optimizer)
            saved = time.monotonic()
    if start < schedule.steps:
        save_state(state, key, schedule.steps, modules, optimizer)


def warm_cosine(step: int, steps: int) -> float:
    """Learning rate factor: up over a twentieth of the steps, then down a half cosine to zero."""
    warm = max(1, steps // 20)
    if step < warm:
        return (step + 1) / warm
    return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))
