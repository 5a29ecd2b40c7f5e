"""Workers as actors of a Ray cluster: the same shards in the same folder, which all its machines must see."""

from __future__ import annotations

import logging
import os
import pickle
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

from edgefr.errors import EdgefrError, require_extra
from edgefr.jobs.shard_worker import Made, Settings, Worker

ANSWER_SECONDS = 10.0


class Actor:
    """A `Worker` where Ray puts it; what goes wrong is an answer, so that it arrives as it was said."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._worker: Worker | None = None

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[Any]]:
        """Make the shard of a batch {"number": (1,)}; how many photographs it has, or the pickled error."""
        try:
            self._worker = self._worker or Worker(self._settings)
            made, error = self._worker.make(int(batch["number"][0]), lambda _count: None), b""
        except EdgefrError as wrong:
            made, error = Made(0, 0, 0), pickle.dumps(wrong)
        return {"photographs": [made.photographs], "error": [error]}


def run_cluster(
    settings: Settings,
    numbers: Sequence[int],
    address: str,
    workers: int | None,
    advance: Callable[[int], None],
    tell: Callable[[str], None],
) -> None:
    """Make the shards of these numbers with so many actors of one CPU each, by default as many as there are CPUs.

    Shards that a lost machine was at are made again by others: Ray sees to that, and `tell` is told of it.

    Raises:
        EdgefrError: the cluster cannot be reached, or what `Worker` raises.
    """
    with _connected(address) as (ray, data):
        machines = _machines(ray)
        data.DataContext.get_current().enable_progress_bars = False
        pool = data.ActorPoolStrategy(
            min_size=1, max_size=workers or max(1, int(ray.cluster_resources().get("CPU", 1)))
        )
        items = data.from_items([{"number": number} for number in numbers], override_num_blocks=len(numbers))
        answers = items.map_batches(Actor, batch_size=1, fn_constructor_args=(settings,), compute=pool, num_cpus=1)
        for answer in answers.iter_rows():
            if answer["error"]:
                raise pickle.loads(answer["error"])  # noqa: S301 - it comes from our own actor
            advance(answer["photographs"])
            if (there := _machines(ray)) < machines:
                tell(f"of {machines} machines of the cluster {there} are left; they make the others' shards, too")
            machines = there


def _machines(ray: Any) -> int:
    return sum(node["Alive"] for node in ray.nodes())


@contextmanager
def _connected(address: str) -> Iterator[tuple[Any, Any]]:
    """`ray` and `ray.data`, connected; what Ray raises becomes a sentence, what it prints is kept off stdout."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Ray would tell its makers of the machine
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    ray, data = require_extra("ray", "ray"), require_extra("ray.data", "ray")
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    with Path(os.devnull).open("w") as nothing, redirect_stdout(nothing):
        _insist_on_answer(address)
        try:
            ray.init(address=address, logging_level=logging.ERROR, log_to_driver=False)
        except (ConnectionError, ValueError, RuntimeError, OSError) as error:
            raise EdgefrError(
                f"a Ray cluster at {address}",
                f"none ({_first(error)})",
                "start one with `ray start --head`, or give --ray local",
            ) from error
        try:
            yield ray, data
        except ray.exceptions.RayError as error:
            raise EdgefrError(
                f"the Ray cluster at {address} to make all shards",
                f"{type(error).__name__} ({_first(error)})",
                ("install the same edgefr on all its machines, look into Ray's logs, then give the same command again"),
            ) from error
        finally:
            ray.shutdown()


def _insist_on_answer(address: str) -> None:
    """Ray itself would try for two minutes and then end the process.

    Raises:
        EdgefrError: `address` is host:port, and nothing answers there.
    """
    host, colon, port = address.rpartition(":")
    if not colon:
        return
    try:
        socket.create_connection((host, int(port)), ANSWER_SECONDS).close()
    except (OSError, ValueError, OverflowError) as error:
        raise EdgefrError(
            f"a Ray cluster at {address}",
            f"that nothing answers there ({error})",
            "give the host:port that `ray start --head` printed",
        ) from error


def _first(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
