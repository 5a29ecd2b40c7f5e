"""What a stage tells while it runs: a progress bar in images, `log.jsonl`, and TensorBoard's files."""

from __future__ import annotations

import importlib.util
import json
import time
from collections.abc import Callable
from pathlib import Path

from edgefr.train.loop import Step
from edgefr.train.parallel import World

EVERY = 10
"""Steps between two lines of the log."""


class Log:
    """Told of every step; the first process writes every tenth."""

    def __init__(self, folder: Path, title: str, advance: Callable[[int], None], world: World) -> None:
        self.title, self.advance, self.world = title, advance, world
        self.seen = 0
        self.began: tuple[float, int] | None = None
        if not world.first:
            return
        folder.mkdir(parents=True, exist_ok=True)
        self.file = (folder / "log.jsonl").open("a", encoding="utf-8")
        self.board = None
        if importlib.util.find_spec("tensorboard") is not None:
            from torch.utils.tensorboard import SummaryWriter

            self.board = SummaryWriter(str(folder / "tensorboard"))

    def __call__(self, step: Step) -> None:
        if not self.world.first:
            return
        self.advance(step.images * step.step - self.seen)
        self.seen = step.images * step.step
        now = time.monotonic()
        if self.began is None:
            self.began = now, self.seen
        if not step.figures:
            return
        if step.step % EVERY and step.step != step.steps:
            return
        seconds, images = now - self.began[0], self.seen - self.began[1]
        figures = dict(step.figures) | ({"images per second": images / seconds} if images else {})
        rounded = {name: float(f"{value:.5g}") for name, value in figures.items()}
        self.file.write(json.dumps({"stage": self.title, "step": step.step} | rounded) + "\n")
        self.file.flush()
        if self.board is not None:
            for name, value in figures.items():
                self.board.add_scalar(f"{self.title}/{name}", value, step.step)

    def close(self) -> None:
        if self.world.first:
            self.file.close()
            if self.board is not None:
                self.board.close()
