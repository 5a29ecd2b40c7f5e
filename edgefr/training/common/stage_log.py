"""What a stage tells while it runs: a progress bar in images, `log.jsonl`, and TensorBoard's files.

A run that goes on where its state was saved takes the steps after that again: a line `goes on from` says that what
stands above of later steps counts no more.
"""

from __future__ import annotations

import importlib.util
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from edgefr.training.common.loop import Step
from edgefr.training.common.parallel import World

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

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
        # A folder for each stage: what a stage purges of its own steps, it would purge of all stages' in its folder.
        self.board_folder = folder / "tensorboard" / title
        self.board: SummaryWriter | None = None

    def __call__(self, step: Step) -> None:
        if not self.world.first:
            return
        self.advance(step.images * step.step - self.seen)
        self.seen = step.images * step.step
        now = time.monotonic()
        if self.began is None:
            self.began = now, self.seen
            self._open_board(step.step if step.figures else step.step + 1)
        if not step.figures:
            self._write({"goes on from": step.step})
            return
        if step.step % EVERY and step.step != step.steps:
            return
        seconds, images = now - self.began[0], self.seen - self.began[1]
        figures = dict(step.figures) | ({"images per second": images / seconds} if images else {})
        rounded = {name: float(f"{value:.5g}") for name, value in figures.items()}
        self._write({"step": step.step} | rounded)
        if self.board is not None:
            for name, value in figures.items():
                self.board.add_scalar(f"{self.title}/{name}", value, step.step)

    def _write(self, told: dict[str, float]) -> None:
        self.file.write(json.dumps({"stage": self.title} | told) + "\n")
        self.file.flush()

    def _open_board(self, purge_step: int) -> None:
        """TensorBoard's file; what earlier ones of this stage say of steps from `purge_step` on is taken back."""
        if importlib.util.find_spec("tensorboard") is not None:
            from torch.utils.tensorboard import SummaryWriter

            self.board = SummaryWriter(str(self.board_folder), purge_step=purge_step)

    def close(self) -> None:
        if self.world.first:
            self.file.close()
            if self.board is not None:
                self.board.close()
