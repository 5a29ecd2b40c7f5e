"""Compare the runtimes on a processor in turns: `python -m bench.processor_runtimes [ROUNDS [NAME ...]]`.

NAME is a size of random pairs (mbf, r50, r100) or `mini`. The time of a call is the shortest of all rounds, and its
share is that of the faster of ONNX Runtime and OpenVINO in FP32.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from edgefr.data.sample_faces import astronaut_faces
from edgefr.engines.device_profile import read_profile
from edgefr.engines.engine_from_onnx import BuildFaces, engine_from_onnx
from edgefr.engines.fastest_engine import time_in_turns
from edgefr.engines.latency import describe_machine
from edgefr.errors import EdgefrError
from edgefr.export.random_weights import onnx_of_random_pair
from edgefr.models import MINI, shipped_model
from edgefr.recognition.recogniser import Recogniser, open_recogniser
from edgefr.runtimes.processor import processor

NAMES = (MINI, "mbf", "r50", "r100")
ROUNDS = 6
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
    times = dict(zip(recognisers, time_in_turns(list(recognisers.values()), 1, rounds), strict=True))
    baseline = min(times[name] for name in BASELINES)
    return {
        name: {"min_ms": round(1e3 * shortest, 2), "of_baseline": round(shortest / baseline, 3)}
        for name, shortest in times.items()
    }


if __name__ == "__main__":
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS
    print(json.dumps({"machine": describe_machine(), **run(rounds, tuple(sys.argv[2:]) or NAMES)}, indent=2))
