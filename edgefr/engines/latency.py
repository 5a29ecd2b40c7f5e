"""How fast a recogniser is here, and what "here" is."""

from __future__ import annotations

import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import numpy as np

from edgefr import __version__
from edgefr.engines.power import PowerMeter
from edgefr.errors import EdgefrError
from edgefr.recognition.recogniser import LARGEST_BATCH, Recogniser
from edgefr.runtimes import available_runtimes
from edgefr.runtimes.processor import forget_peak, memory_gib, peak_mib, processor
from edgefr.types import FACE_SIZE

WARM_UP_CALLS = 3
FEWEST_CALLS = 5
LONGEST_SECONDS = 3600.0


@dataclass(frozen=True)
class BenchRow:
    """Percentiles of the time of a call in milliseconds, and images a second over all `calls`.

    `bytes`: the file's size. `peak_mib`: the most memory that the process held meanwhile. `watts`: the mean while it
    ran. `of_gemm`: the part of this machine's own rate of multiplying matrices that the median call reached. Each is
    None where the machine does not tell.
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
class Known:
    """What is known of a file before it is timed: its size, the operations of one image, and the rate in operations a
    second at which this machine multiplies matrices in the precision; each None where it is not."""

    bytes: int | None = None
    operations: int | None = None
    gemm_rate: float | None = None


def measure(
    recogniser: Recogniser,
    batch_sizes: Sequence[int] = (1, 8, 32),
    seconds: float = 3.0,
    progress: Callable[[BenchRow], None] | None = None,
    known: Known = Known(),
) -> list[BenchRow]:
    """Time `recogniser.embed` on random faces for about `seconds` at each batch size, after a warm-up.

    `progress` is called with every row as it is done.

    Raises:
        EdgefrError: a batch size is out of 1 to 1024, or seconds are not above 0 and at most an hour.
    """
    if not 0 < seconds <= LONGEST_SECONDS:
        raise EdgefrError(
            f"above 0 and at most {LONGEST_SECONDS:g} seconds a measurement", f"{seconds:g}", "choose another --seconds"
        )
    for batch in batch_sizes:
        if not 1 <= batch <= LARGEST_BATCH:
            raise EdgefrError(f"batch sizes of 1 to {LARGEST_BATCH}", str(batch), "choose another --batch")
    rows = []
    for batch in batch_sizes:
        row = _row(recogniser, batch, seconds, known)
        rows.append(row)
        if progress is not None:
            progress(row)
    return rows


def _row(recogniser: Recogniser, batch: int, seconds: float, known: Known) -> BenchRow:
    faces = np.random.default_rng(0).integers(0, 256, (batch, FACE_SIZE, FACE_SIZE, 3), np.uint8)
    for _ in range(WARM_UP_CALLS):
        recogniser.embed(faces, batch)
    times: list[float] = []
    forget_peak()
    end = perf_counter() + seconds
    with PowerMeter() as meter:
        while len(times) < FEWEST_CALLS or perf_counter() < end:
            start = perf_counter()
            recogniser.embed(faces, batch)
            times.append(perf_counter() - start)
    p50, p95, p99 = (float(value) for value in 1e3 * np.percentile(times, (50, 95, 99)))
    description = recogniser.description
    return BenchRow(
        runtime=description.runtime,
        precision=description.precision,
        batch=batch,
        calls=len(times),
        p50_ms=p50,
        p95_ms=p95,
        p99_ms=p99,
        images_per_second=batch * len(times) / sum(times),
        bytes=known.bytes,
        peak_mib=peak_mib(),
        watts=meter.mean,
        of_gemm=(
            None
            if known.operations is None or known.gemm_rate is None
            else 1e3 * batch * known.operations / p50 / known.gemm_rate
        ),
    )


def machine() -> dict[str, Any]:
    """What a measurement depends on, fit to be published: no names of hosts, users or folders."""
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
            **{r.name: r.version for r in available_runtimes() if r.version is not None and r.name != "fake"},
        },
    }
