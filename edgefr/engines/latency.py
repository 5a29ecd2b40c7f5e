"""Measures the speed of a recogniser, and describes the machine."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import numpy as np

from edgefr import __version__
from edgefr.engines.power import PowerMeter
from edgefr.errors import InvalidArgumentError
from edgefr.recognition.recogniser import LARGEST_BATCH, Recogniser
from edgefr.runtimes import available_runtimes
from edgefr.runtimes.processor import memory_gib, peak_memory_mib, processor, reset_peak_memory
from edgefr.types import FACE_SIZE

WARM_UP_CALLS = 3
MIN_CALLS = 5
MAX_SECONDS = 3600.0


@dataclass(frozen=True)
class BenchRow:
    """The speed at one batch size.

    Attributes:
        p50_ms, p95_ms, p99_ms: Percentiles of the time of a call in milliseconds.
        images_per_second: Throughput over all calls.
        bytes: Size of the file, if known.
        peak_mib: Peak memory of the process meanwhile in MiB, if the system reports it.
        watts: Mean power meanwhile, if there is a sensor.
        of_gemm: Operations a second of the median call as a share of the rate of a matrix product, if both are known.
    """

    runtime: str
    precision: str
    batch: int
    calls: int
    p50_ms: float
    p95_ms: float
    p99_ms: float
    images_per_second: float
    bytes: int | None = None
    peak_mib: float | None = None
    watts: float | None = None
    of_gemm: float | None = None


@dataclass(frozen=True)
class ModelCost:
    """Size of a file, operations for one image and rate of matrix products (`roofline`), as far as they are known."""

    bytes: int | None = None
    operations: int | None = None
    gemm_rate: float | None = None

    def share_of_gemm(self, batch: int, milliseconds: float) -> float | None:
        """The share of the rate of a matrix product that a call of so many milliseconds reaches."""
        if self.operations is None or self.gemm_rate is None:
            return None
        return 1e3 * batch * self.operations / milliseconds / self.gemm_rate


def measure_latency(
    recogniser: Recogniser, batch_sizes: Sequence[int] = (1, 8, 32), seconds: float = 3.0, cost: ModelCost = ModelCost()
) -> list[BenchRow]:
    """Time a recogniser on random faces, after a warm-up.

    Args:
        recogniser: The recogniser.
        batch_sizes: Batch sizes, 1 to 1024 each.
        seconds: Seconds for each batch size, at most an hour.
        cost: What is known about the model.

    Returns:
        A row for each batch size.

    Raises:
        InvalidArgumentError: A batch size or the seconds are out of range.
        EdgefrError: The model fails.
    """
    if not 0 < seconds <= MAX_SECONDS:
        raise InvalidArgumentError(
            f"above 0 and at most {MAX_SECONDS:g} seconds for a measurement", f"{seconds:g}", "choose another --seconds"
        )
    for batch in batch_sizes:
        if not 1 <= batch <= LARGEST_BATCH:
            raise InvalidArgumentError(f"batch sizes of 1 to {LARGEST_BATCH}", str(batch), "choose another --batch")
    return [_measure_batch(recogniser, batch, seconds, cost) for batch in batch_sizes]


def _measure_batch(recogniser: Recogniser, batch: int, seconds: float, cost: ModelCost) -> BenchRow:
    faces = np.random.default_rng(0).integers(0, 256, (batch, FACE_SIZE, FACE_SIZE, 3), np.uint8)
    for _ in range(WARM_UP_CALLS):
        recogniser.embed(faces, batch)
    times: list[float] = []
    reset_peak_memory()
    end = perf_counter() + seconds
    with PowerMeter() as meter:
        while len(times) < MIN_CALLS or perf_counter() < end:
            start = perf_counter()
            recogniser.embed(faces, batch)
            times.append(perf_counter() - start)
    p50, p95, p99 = (float(value) for value in 1e3 * np.percentile(times, (50, 95, 99)))
    return BenchRow(
        runtime=recogniser.description.runtime,
        precision=recogniser.description.precision,
        batch=batch,
        calls=len(times),
        p50_ms=p50,
        p95_ms=p95,
        p99_ms=p99,
        images_per_second=batch * len(times) / sum(times),
        bytes=cost.bytes,
        peak_mib=peak_memory_mib(),
        watts=meter.mean,
        of_gemm=cost.share_of_gemm(batch, p50),
    )


def describe_machine() -> dict[str, Any]:
    """Hardware and versions that a measurement depends on. Holds no names of hosts, users or folders."""
    here = processor()
    return {
        "cpu": here.model,
        "cores": here.cores,
        "bf16": here.bf16,
        "vnni": not here.flags.isdisjoint({"avx512_vnni", "avx_vnni"}),
        "memory_gib": memory_gib(),
        "os": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": {
            "edgefr": __version__,
            "numpy": np.__version__,
            **{r.name: r.version for r in available_runtimes() if r.version is not None and r.takes_file},
        },
    }
