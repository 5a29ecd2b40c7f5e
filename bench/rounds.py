"""Compare the speed of each precision with onnxruntime in FP32, in turns.

`python -m bench.rounds MODEL INT8-MODEL [ROUNDS [SECONDS]]`: on a virtual machine the same call can take a fifth longer
in one minute than in the next. In turns each share of the baseline is from the same half minute, and the rounds show
how much the shares vary. The batch size is 1. `edgefr bench` times one precision after the other, for longer.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from edgefr.engines.latency import describe_machine, measure_latency
from edgefr.engines.roofline import count_operations, gemm_rate
from edgefr.recognition.recogniser import open_recogniser

PRECISIONS = ("fp32", "bf16", "int8")


def run(model: Path, int8: Path, rounds: int = 5, seconds: float = 5.0) -> dict[str, Any]:
    """Median milliseconds in every round, and their shares of the baseline and of the best GEMM rate of all rounds."""
    recognisers = {
        "onnxruntime fp32": open_recogniser(model, "onnxruntime", "fp32"),
        "openvino fp32": open_recogniser(model, "openvino", "fp32"),
        "openvino bf16": open_recogniser(model, "openvino", "bf16"),
        "openvino int8": open_recogniser(int8, "openvino"),
    }
    times_ms: dict[str, list[float]] = {name: [] for name in recognisers}
    rates: dict[str, list[float]] = {precision: [] for precision in PRECISIONS}
    for _ in range(rounds):
        for name, recogniser in recognisers.items():
            times_ms[name].append(measure_latency(recogniser, (1,), seconds)[0].p50_ms)
        for precision in PRECISIONS:
            rates[precision].append(gemm_rate(precision) or 0.0)
    operations = count_operations(model) or 0
    baseline = np.array(times_ms["onnxruntime fp32"])
    rows = {
        name: {
            "p50_ms": times,
            "of_baseline": (np.array(times) / baseline).tolist(),
            "of_gemm": [1e3 * operations / time / max(rates[name.split()[1]]) for time in times],
        }
        for name, times in times_ms.items()
    }
    return {"rows": rows, "gemm_rates": rates, "operations": operations}


if __name__ == "__main__":
    model, int8 = map(Path, sys.argv[1:3])
    counts = [kind(text) for kind, text in zip((int, float), sys.argv[3:], strict=False)]
    print(json.dumps({"machine": describe_machine(), **run(model, int8, *counts)}, indent=2))
