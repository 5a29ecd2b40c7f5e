"""Time from the start of the process to its result: `edgefr verify` and the minimal script, in turns."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

from bench.lfw import YUNET

ROUNDS = 15


def run(data: Path, model: Path) -> dict[str, Any]:
    """Median times in milliseconds, and their ratio."""
    detector = data / YUNET
    photos = [str(data / "photos" / name) for name in ("obama.jpg", "obama2.jpg")]
    environment = os.environ | {"EDGEFR_MODEL": str(model), "EDGEFR_DETECTOR": str(detector)}
    edgefr = [str(Path(sys.executable).with_name("edgefr")), "verify", *photos]
    bare = [sys.executable, str(Path(__file__).with_name("bare_verify.py")), *photos, str(model), str(detector)]
    times: dict[str, list[float]] = {"edgefr": [], "bare": []}
    for number in range(ROUNDS + 1):
        for name, command in (("bare", bare), ("edgefr", edgefr)):
            start = perf_counter()
            subprocess.run(command, env=environment, capture_output=True, check=True)
            if number:  # the first round warms the disk cache
                times[name].append(perf_counter() - start)
    p50 = {name: 1e3 * median(values) for name, values in times.items()}
    return {
        "edgefr_p50_ms": round(p50["edgefr"]),
        "bare_p50_ms": round(p50["bare"]),
        "ratio": round(p50["edgefr"] / p50["bare"], 3),
        "rounds": ROUNDS,
    }
