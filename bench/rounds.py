"""How fast is each precision beside onnxruntime in FP32? `python -m bench.rounds MODEL INT8-MODEL [ROUNDS [SECONDS]]`

On a virtual machine the same call takes a fifth longer in one minute than in the next. So all take turns: a share of
the baseline is of the same half minute, and the rounds show how far shares differ. Batch 1; `edgefr bench` times longer
stretches, one precision after the other.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from edgefr.engines.latency import describe_machine
from edgefr.engines.roofline import count_operations, gemm_rate
from edgefr.recognition.recogniser import Recogniser, open_recogniser
from edgefr.types import FACE_SIZE

PRECISIONS = ("fp32", "bf16", "int8")


def run(model: Path, int8: Path, rounds: int = 5, seconds: float = 5.0) -> dict[str, Any]:
    """Median milliseconds of each in every round, their shares of the baseline, and of the best rate of all rounds."""
    timed = {
        "onnxruntime fp32": open_recogniser(model, "onnxruntime", "fp32"),
        "openvino fp32": open_recogniser(model, "openvino", "fp32"),
        "openvino bf16": open_recogniser(model, "openvino", "bf16"),
        "openvino int8": open_recogniser(int8, "openvino"),
    }
    taken: dict[str, list[float]] = {name: [] for name in timed}
    rates: dict[str, list[float]] = {precision: [] for precision in PRECISIONS}
    for _ in range(rounds):
        for name, recogniser in timed.items():
            taken[name].append(_median_ms(recogniser, seconds))
        for precision in PRECISIONS:
            rates[precision].append(gemm_rate(precision) or 0.0)
    needed = count_operations(model) or 0
    baseline = np.array(taken["onnxruntime fp32"])
    rows = {
        name: {
            "p50_ms": times,
            "of_baseline": (np.array(times) / baseline).tolist(),
            "of_gemm": [1e3 * needed / time / max(rates[name.split()[1]]) for time in times],
        }
        for name, times in taken.items()
    }
    return {"rows": rows, "gemm_rates": rates, "operations": needed}


def _median_ms(recogniser: Recogniser, seconds: float) -> float:
    face = np.random.default_rng(0).integers(0, 256, (1, FACE_SIZE, FACE_SIZE, 3), np.uint8)
    for _ in range(3):
        recogniser.embed(face, 1)
    times: list[float] = []
    end = perf_counter() + seconds
    while not times or perf_counter() < end:
        start = perf_counter()
        recogniser.embed(face, 1)
        times.append(perf_counter() - start)
    return 1e3 * float(np.median(times))


if __name__ == "__main__":
    model, int8 = map(Path, sys.argv[1:3])
    counts = [kind(text) for kind, text in zip((int, float), sys.argv[3:], strict=False)]
    print(json.dumps({"machine": describe_machine(), **run(model, int8, *counts)}, indent=2))
