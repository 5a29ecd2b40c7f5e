"""Requests a second that a Triton server here answers, one face each, by how many clients ask at once.

The server is the nvidia-pytriton wheel's with its Python backend around onnxruntime, on the same cores as the clients:
what it shows is what a server costs and what its batching gains, not what a machine of its own would do.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from bench.tritonserver import Tritonserver, missing
from edgefr.data.sample_faces import astronaut_faces
from edgefr.export.triton_repository import triton_from_model
from edgefr.models import MINI, shipped_model
from edgefr.runtimes import open_backend
from edgefr.types import INPUT_NAME, Faces

SECONDS = 10.0
CLIENTS = (1, 4, 16)


def run() -> dict[str, Any]:
    """Rates and times by the number of clients, and without a server.

    Raises:
        FileNotFoundError: there is no server to start.
    """
    if (why := missing()) is not None:
        raise FileNotFoundError(why)
    model, faces = shipped_model(MINI), astronaut_faces(32)
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        triton_from_model(model, Path(folder, "repository"), python=True)
        server = Tritonserver(Path(folder, "repository"), Path(folder))
        server.start()
        try:
            rows = [_measured(lambda: open_backend(model, server.url).infer, count, faces) for count in CLIENTS]
        finally:
            server.kill()
    alone = _measured(lambda: open_backend(model, "onnxruntime").infer, 1, faces)
    return {"load_before": load, "seconds": SECONDS, "triton": rows, "onnxruntime_in_the_process": alone}


def _measured(
    connect: Callable[[], Callable[[dict[str, Faces]], object]], clients: int, faces: Faces
) -> dict[str, Any]:
    with ThreadPoolExecutor(clients) as pool:
        asking = [connect() for _ in range(clients)]
        begun = perf_counter()
        asked = [pool.submit(_ask, infer, faces, begun + SECONDS) for infer in asking]
        times = np.concatenate([one.result() for one in asked])
        seconds = perf_counter() - begun
    p50, p99 = np.percentile(1e3 * times, (50, 99))
    return {"clients": clients, "requests_per_second": len(times) / seconds, "p50_ms": p50, "p99_ms": p99}


def _ask(infer: Callable[[dict[str, Faces]], object], faces: Faces, until: float) -> list[float]:
    """Seconds of each request, one after the other."""
    times: list[float] = []
    while (start := perf_counter()) < until:
        at = len(times) % len(faces)
        infer({INPUT_NAME: faces[at : at + 1]})
        times.append(perf_counter() - start)
    return times
