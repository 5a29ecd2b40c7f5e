"""Workers as actors of a Ray cluster: the same shards in the same folder, which all its machines must see."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from typing import Any

from edgefr.errors import EdgefrError, need
from edgefr.jobs.worker import Made, Settings, Worker

Numbers = Any
"""A batch of one number, as Ray Data gives it: {"number": (1,) int64}."""


class Actor:
    """A `Worker` where Ray puts it; what goes wrong is an answer, so that it arrives as it was said."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._worker: Worker | None = None

    def __call__(self, batch: Numbers) -> dict[str, list[Any]]:
        try:
            self._worker = self._worker or Worker(self._settings)
            made, error = self._worker.make(int(batch["number"][0]), lambda _count: None), ""
        except EdgefrError as wrong:
            made, error = Made(0, 0, 0), str(wrong)
        return {"photographs": [made.photographs], "error": [error]}


def run_cluster(
    settings: Settings, numbers: Sequence[int], address: str, workers: int | None, advance: Callable[[int], None]
) -> None:
    """Make the shards of these numbers with so many actors of one CPU each, by default as many as there are CPUs.

    What a machine was at when it was lost, others make again: Ray sees to that.

    Raises:
        EdgefrError: the cluster cannot be reached, or what `Worker` raises.
    """
    ray, data = need("ray", "ray"), need("ray.data", "ray")
    _connect(ray, address)
    try:
        data.DataContext.get_current().enable_progress_bars = False
        count = workers or max(1, int(ray.cluster_resources().get("CPU", 1)))
        items = data.from_items([{"number": number} for number in numbers], override_num_blocks=len(numbers))
        pool = data.ActorPoolStrategy(min_size=1, max_size=count)
        answers = items.map_batches(Actor, batch_size=1, fn_constructor_args=(settings,), compute=pool, num_cpus=1)
        for answer in answers.iter_rows():
            if answer["error"]:
                raise EdgefrError(answer["error"])
            advance(answer["photographs"])
    except ray.exceptions.RayError as error:
        first = str(error).strip().splitlines()[0]
        raise EdgefrError(
            f"expected the Ray cluster at {address} to make all shards, found {type(error).__name__} ({first}): "
            "install the same edgefr on all its machines, look into Ray's logs, then give the same command again"
        ) from error
    finally:
        ray.shutdown()


def _connect(ray: Any, address: str) -> None:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Ray would tell its makers of the machine
    try:
        ray.init(address=address, logging_level=logging.ERROR, log_to_driver=False)
    except (ConnectionError, ValueError, RuntimeError, OSError) as error:
        raise EdgefrError(
            f"expected a Ray cluster at {address}, found none ({str(error).strip().splitlines()[0]}): start one with "
            "`ray start --head`, or give --ray local"
        ) from error
