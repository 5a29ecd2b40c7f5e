"""Measure the requests a second of a local Triton server, with one face each, by the number of clients.

The server is that of the nvidia-pytriton wheel with its Python backend and onnxruntime, on the same cores as the
clients. So the results show the cost of a server and the gain of its batches, not the speed of a separate machine.
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
        FileNotFoundError: Triton is not installed.
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
            rows = [_measure(lambda: open_backend(model, server.url).infer, count, faces) for count in CLIENTS]
        finally:
            server.kill()
    in_process = _measure(lambda: open_backend(model, "onnxruntime").infer, 1, faces)
    return {"load_before": load, "seconds": SECONDS, "triton": rows, "onnxruntime_in_the_process": in_process}


def _measure(connect: Callable[[], Callable[[dict[str, Faces]], object]], clients: int, faces: Faces) -> dict[str, Any]:
    with ThreadPoolExecutor(clients) as pool:
        backends = [connect() for _ in range(clients)]
        start = perf_counter()
        futures = [pool.submit(_send_requests, infer, faces, start + SECONDS) for infer in backends]
        times = np.concatenate([future.result() for future in futures])
        seconds = perf_counter() - start
    p50, p99 = np.percentile(1e3 * times, (50, 99))
    return {"clients": clients, "requests_per_second": len(times) / seconds, "p50_ms": p50, "p99_ms": p99}


def _send_requests(infer: Callable[[dict[str, Faces]], object], faces: Faces, until: float) -> list[float]:
    """Send requests one after the other, and return the seconds of each."""
    times: list[float] = []
    while (start := perf_counter()) < until:
        at = len(times) % len(faces)
        infer({INPUT_NAME: faces[at : at + 1]})
        times.append(perf_counter() - start)
    return times
