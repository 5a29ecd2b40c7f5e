"""The stages of a recipe: key, state file, lock, progress bar and log of each."""

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
from edgefr.training.common.loop import StageConfig
from edgefr.training.common.parallel import World
from edgefr.training.common.progress import Progress
from edgefr.training.common.recipes import Schedule
from edgefr.training.common.stage_log import StageLog

ConfigureStage = Callable[[Mapping[str, nn.Module], list[dict[str, Any]], Schedule, int], StageConfig]
"""Makes the configuration of an open stage from modules, parameter groups, schedule and samples of an epoch."""


@dataclass(frozen=True)
class Stages:
    """Opens the stages of one recipe.

    Attributes:
        runs: Folder of all runs. `runs/states` holds the states by their keys, `runs/NAME` the log.
        name: Name of the recipe.
        seed: Seed of the recipe.
        progress: Shows the steps.
        world: The processes that train together.
    """

    runs: Path
    name: str
    seed: int
    progress: Progress
    world: World

    def open(self, title: str, inputs: list[Any], stack: ExitStack) -> ConfigureStage:
        """Lock a stage until the stack is closed.

        Args:
            title: Title of the progress bar; part of the key.
            inputs: Everything the stage depends on, files as their digests. Paths in it are ignored, so that folders
                can be moved.
            stack: Closes the lock, the bar and the log.

        Returns:
            A function that makes the configuration of the stage.

        Raises:
            EdgefrError: Another run has locked this stage.
        """
        text = json.dumps(_without_paths([title, *inputs, self.seed, *self.world.key]), sort_keys=True)
        key = hashlib.sha256(text.encode()).hexdigest()
        state = self.runs / "states" / f"{key[:16]}.safetensors"
        if self.world.first:
            stack.enter_context(run_lock(state.with_suffix(".lock")))

        def configure(
            modules: Mapping[str, nn.Module], groups: list[dict[str, Any]], schedule: Schedule, samples: int
        ) -> StageConfig:
            images = schedule.total_steps(samples) * schedule.batch * schedule.accumulate
            advance = stack.enter_context(self.progress(title, images))
            log = StageLog(self.runs / self.name, title, advance, self.world)
            stack.callback(log.close)
            return StageConfig(modules, groups, schedule, samples, self.seed, key, state, log, self.world)

        return configure


def _without_paths(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_paths(entry) for key, entry in value.items() if not isinstance(entry, Path)}
    if isinstance(value, list | tuple):
        return [_without_paths(entry) for entry in value]
    return value
