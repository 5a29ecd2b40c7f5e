"""Workers on a Ray cluster. They write the same shards to the same folder, which all machines must share."""

from __future__ import annotations

import logging
import os
import pickle
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

from edgefr.errors import EdgefrError, UnavailableError, require_extra
from edgefr.jobs.shard_worker import Settings, ShardResult, Worker

CONNECT_TIMEOUT_S = 10.0


class Actor:
    """A `Worker` as a Ray actor. It returns errors instead of raising them, because Ray would wrap them."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._worker: Worker | None = None

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[Any]]:
        """Make the shard of a batch {"number": (1,)}; returns its number of photographs, or the pickled error."""
        try:
            self._worker = self._worker or Worker(self._settings)
            result, error = self._worker.make(int(batch["number"][0]), lambda _count: None), b""
        except EdgefrError as failure:  # `run_cluster` raises it
            result, error = ShardResult(0, 0, 0), pickle.dumps(failure)
        return {"photographs": [result.photographs], "error": [error]}


def run_cluster(
    settings: Settings,
    numbers: Sequence[int],
    address: str,
    workers: int | None,
    on_progress: Callable[[int], None],
    on_warning: Callable[[str], None],
) -> None:
    """Make shards with actors of one CPU each. Ray retries the shards of machines that are lost.

    Args:
        settings: What the workers need.
        numbers: The shards to make.
        address: "auto", "local" or host:port of the cluster.
        workers: Number of actors; None means one for each CPU of the cluster.
        on_progress: Called with a number of photographs.
        on_warning: Receives a sentence when machines are lost.

    Raises:
        UnavailableError: The cluster cannot be reached, or it fails.
        EdgefrError: A worker failed, see `Worker`.
    """
    with _connect(address) as (ray, data):
        machines = _count_machines(ray)
        data.DataContext.get_current().enable_progress_bars = False
        pool = data.ActorPoolStrategy(
            min_size=1, max_size=workers or max(1, int(ray.cluster_resources().get("CPU", 1)))
        )
        items = data.from_items([{"number": number} for number in numbers], override_num_blocks=len(numbers))
        results = items.map_batches(Actor, batch_size=1, fn_constructor_args=(settings,), compute=pool, num_cpus=1)
        for result in results.iter_rows():
            if result["error"]:
                raise pickle.loads(result["error"])  # noqa: S301 - from our own actor
            on_progress(result["photographs"])
            if (alive := _count_machines(ray)) < machines:
                on_warning(f"{alive} of {machines} machines are left; they retry the shards of the others")
            machines = alive


def _count_machines(ray: Any) -> int:
    return sum(node["Alive"] for node in ray.nodes())


@contextmanager
def _connect(address: str) -> Iterator[tuple[Any, Any]]:
    """Connect and give `ray` and `ray.data`. Their errors are translated, and what they print is suppressed."""
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    ray, data = require_extra("ray", "ray"), require_extra("ray.data", "ray")
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    with Path(os.devnull).open("w") as nothing, redirect_stdout(nothing):
        _check_reachable(address)
        try:
            ray.init(address=address, logging_level=logging.ERROR, log_to_driver=False)
        except (ConnectionError, ValueError, RuntimeError, OSError) as error:
            raise UnavailableError(
                f"a Ray cluster at {address}",
                f"none ({_first_line(error)})",
                "start one with `ray start --head`, or give --ray local",
            ) from error
        try:
            yield ray, data
        except ray.exceptions.RayError as error:
            raise UnavailableError(
                "",
                f"The Ray cluster at {address} failed: {type(error).__name__} ({_first_line(error)})",
                "install the same edgefr on all its machines, check Ray's logs, then run the same command again",
            ) from error
        finally:
            ray.shutdown()


def _check_reachable(address: str) -> None:
    """Check that host:port accepts connections. Ray itself would try for two minutes and then end the process."""
    host, colon, port = address.rpartition(":")
    if not colon:
        return
    try:
        socket.create_connection((host, int(port)), CONNECT_TIMEOUT_S).close()
    except (OSError, ValueError, OverflowError) as error:
        raise UnavailableError(
            "",
            f"No Ray cluster responds at {address}: {error}",
            "give the host:port that `ray start --head` printed",
        ) from error


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
