"""Log of a stage: a progress bar in images, `log.jsonl` and TensorBoard files.

A resumed run repeats the steps since its state was saved. A line `goes on from` in the log says that earlier lines
about later steps are void.
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

LOG_INTERVAL = 10
"""Steps between two lines of the log."""


class StageLog:
    """Receives every step; the first process logs every tenth and the last."""

    def __init__(self, folder: Path, title: str, advance: Callable[[int], None], world: World) -> None:
        self._title, self._advance, self._world = title, advance, world
        self._images = 0
        self._start: tuple[float, int] | None = None
        if not world.first:
            return
        folder.mkdir(parents=True, exist_ok=True)
        self._file = (folder / "log.jsonl").open("a", encoding="utf-8")
        # Each stage has its own folder, because purging the steps of one stage would purge those of all in a folder.
        self._board_folder = folder / "tensorboard" / title
        self._board: SummaryWriter | None = None

    def __call__(self, step: Step) -> None:
        if not self._world.first:
            return
        self._advance(step.images * step.step - self._images)
        self._images = step.images * step.step
        now = time.monotonic()
        if self._start is None:
            self._start = now, self._images
            self._open_board(step.step if step.metrics else step.step + 1)
        if not step.metrics:
            self._write({"goes on from": step.step})
            return
        if step.step % LOG_INTERVAL and step.step != step.steps:
            return
        seconds, images = now - self._start[0], self._images - self._start[1]
        metrics = dict(step.metrics) | ({"images per second": images / seconds} if images else {})
        rounded = {name: float(f"{value:.5g}") for name, value in metrics.items()}
        self._write({"step": step.step} | rounded)
        if self._board is not None:
            for name, value in metrics.items():
                self._board.add_scalar(f"{self._title}/{name}", value, step.step)

    def _write(self, entries: dict[str, float]) -> None:
        self._file.write(json.dumps({"stage": self._title} | entries) + "\n")
        self._file.flush()

    def _open_board(self, purge_step: int) -> None:
        """Open TensorBoard's file; earlier files of this stage lose their steps from `purge_step` on."""
        if importlib.util.find_spec("tensorboard") is not None:
            from torch.utils.tensorboard import SummaryWriter

            self._board = SummaryWriter(str(self._board_folder), purge_step=purge_step)

    def close(self) -> None:
        """Close the files."""
        if self._world.first:
            self._file.close()
            if self._board is not None:
                self._board.close()
