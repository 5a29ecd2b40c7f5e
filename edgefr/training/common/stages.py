"""A recipe's stages: the key that says what one is made from, its state, lock, progress bar and log."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from edgefr.io.run_lock import run_lock
from edgefr.training.common.loop import Stage
from edgefr.training.common.parallel import World
from edgefr.training.common.progress import Progress
from edgefr.training.common.recipes import Schedule
from edgefr.training.common.stage_log import Log


@dataclass(frozen=True)
class Stages:
    """Opens the stages of the recipe `name`; states lie under `runs`, by their keys, and logs in `runs/name`."""

    runs: Path
    name: str
    seed: int
    progress: Progress
    world: World

    def open(self, title: str, made_from: list[Any], stack: ExitStack) -> Callable[..., Stage]:
        """A function that makes a stage of modules, groups, schedule and views.

        `made_from` is all that it depends on, files by their digests: paths in it do not count, so that folders may
        be moved. The stage is this run's own until the stack is closed.

        Raises:
            EdgefrError: another run is at this stage.
        """
        told = json.dumps(_without_paths([title, *made_from, self.seed, *self.world.key]), sort_keys=True)
        key = hashlib.sha256(told.encode()).hexdigest()
        state = self.runs / "states" / f"{key[:16]}.safetensors"
        if self.world.first:
            stack.enter_context(run_lock(state.with_suffix(".lock")))

        def stage_of(
            modules: Mapping[str, nn.Module], groups: list[dict[str, Any]], schedule: Schedule, views: int
        ) -> Stage:
            images = schedule.length(views) * schedule.batch * schedule.accumulate
            advance = stack.enter_context(self.progress(title, images))
            report = Log(self.runs / self.name, title, advance, self.world)
            stack.callback(report.close)
            return Stage(modules, groups, schedule, views, self.seed, key, state, report, self.world)

        return stage_of


def _without_paths(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_paths(entry) for key, entry in value.items() if not isinstance(entry, Path)}
    if isinstance(value, list | tuple):
        return [_without_paths(entry) for entry in value]
    return value
