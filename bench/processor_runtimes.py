"""Compare the runtimes on a processor in turns: `python -m bench.processor_runtimes [ROUNDS [NAME ...]]`.

NAME is a size of random pairs (mbf, r50, r100) or `mini`. The time of a call is the shortest of all rounds, and its
share is that of the faster of ONNX Runtime and OpenVINO in FP32.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from edgefr.data.sample_faces import astronaut_faces
from edgefr.engines.device_profile import read_profile
from edgefr.engines.engine_from_onnx import BuildFaces, engine_from_onnx
from edgefr.engines.latency import describe_machine
from edgefr.errors import EdgefrError
from edgefr.export.random_weights import onnx_of_random_pair
from edgefr.models import MINI, shipped_model
from edgefr.recognition.recogniser import Recogniser, open_recogniser
from edgefr.runtimes.processor import processor

NAMES = (MINI, "mbf", "r50", "r100")
ROUNDS = 6
ROUND_SECONDS = 0.5
BASELINES = ("onnxruntime fp32", "openvino fp32")


def run(rounds: int = ROUNDS, names: tuple[str, ...] = NAMES) -> dict[str, Any]:
    """Name of a model -> runtime and precision -> shortest milliseconds of a face, and share of the baseline."""
    results = {}
    for name in names:
        with tempfile.TemporaryDirectory(prefix="edgefr-runtimes-") as folder:
            model = shipped_model(MINI) if name == MINI else Path(folder) / f"{name}.onnx"
            if name != MINI:
                onnx_of_random_pair(name, model)
            results[name] = _in_turns(_opened(model, Path(folder)), rounds)
            print(json.dumps({name: results[name]}), file=sys.stderr, flush=True)
    return {"models": results}


def _opened(model: Path, folder: Path) -> dict[str, Recogniser]:
    opened = {
        "onnxruntime fp32": open_recogniser(model, "onnxruntime", "fp32"),
        "openvino fp32": open_recogniser(model, "openvino", "fp32"),
    }
    if processor().bf16:
        opened["openvino bf16"] = open_recogniser(model, "openvino", "bf16")
    shown = astronaut_faces(8)
    for runtime, precision in (("ncnn", "fp32"), ("ncnn", "int8"), ("openvino", "int8")):
        try:
            sample, profile = BuildFaces(shown, None, shown), read_profile(None, runtime)
            built = engine_from_onnx(model, precision, runtime, profile, sample, folder / "engines")
            opened[f"{runtime} {precision}"] = open_recogniser(built.path, runtime)
        except EdgefrError as error:  # the gate refuses it
            print(f"{runtime} {precision}: {error}", file=sys.stderr)
    return opened


def _in_turns(recognisers: dict[str, Recogniser], rounds: int) -> dict[str, dict[str, float]]:
    face = astronaut_faces(1)
    times: dict[str, list[float]] = {name: [] for name in recognisers}
    for _ in range(rounds):
        for name, recogniser in recognisers.items():
            recogniser.embed(face)
            end, count = perf_counter() + ROUND_SECONDS, 0
            while (start := perf_counter()) < end or count < 2:
                recogniser.embed(face)
                times[name].append(perf_counter() - start)
                count += 1
    baseline = min(min(times[name]) for name in BASELINES)
    return {
        name: {
            "min_ms": round(1e3 * min(values), 2),
            "p50_ms": round(1e3 * float(np.median(values)), 2),
            "of_baseline": round(min(values) / baseline, 3),
        }
        for name, values in times.items()
    }


if __name__ == "__main__":
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS
    print(json.dumps({"machine": describe_machine(), **run(rounds, tuple(sys.argv[2:]) or NAMES)}, indent=2))
