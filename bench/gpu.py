"""`python -m bench.gpu [MODEL]`: build, check and time every engine on a machine with an NVIDIA GPU, and write JSON.

Every result is listed with the version of its library. Without a GPU nothing is written.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench.__main__ import BASELINE, MODEL, RESULTS, edgefr
from bench.lfw import data
from edgefr.engines.latency import describe_machine
from edgefr.errors import EdgefrError
from edgefr.io.files import atomic_write, sha256_of
from edgefr.runtimes import available_runtimes
from edgefr.runtimes.cuda_probe import require_gpu

PRECISIONS = ("fp32", "fp16", "int8")
BATCHES = "1,2,4,8,16,32,64"


def engines(model: Path, runtime: str) -> dict[str, Any]:
    """Precision -> the output of `edgefr build-engine`, or its exit code and error."""
    faces, pairs = data() / "lfw-aligned-112.zip", data() / "lfw-pairs.txt"
    found: dict[str, Any] = {}
    for precision in PRECISIONS:
        arguments = ("build-engine", model, f"--{precision}", "--runtime", runtime, "--faces", faces, "--pairs", pairs)
        try:
            found[precision] = edgefr(*arguments)
        except subprocess.CalledProcessError as error:
            found[precision] = {"exit": error.returncode, "refused": (error.stderr.splitlines() or [""])[-1]}
    return found


def main() -> None:
    try:
        gpu = require_gpu("`make gpu`")
    except EdgefrError as error:
        sys.exit(f"edgefr: {error}")
    model = Path(sys.argv[1]) if len(sys.argv) > 1 else MODEL
    runtimes = [r for r in available_runtimes() if r.version is not None and r.name.startswith("tensorrt")]
    document = {
        "gpu": asdict(gpu),
        "machine": describe_machine(),
        "models": {
            path.name: {
                "sha256": sha256_of(path),
                "engines": {f"{r.name} {r.version}": engines(path, r.name) for r in runtimes},
                "rows": edgefr("bench", path, "--batch", BATCHES)["rows"],
            }
            for path in (model, BASELINE)
        },
    }
    name = re.sub(r"[^a-z0-9]+", "-", gpu.name.lower()).strip("-")
    output = RESULTS / f"{name}.json"
    with atomic_write(output) as temporary:
        temporary.write_text(json.dumps(document, indent=2) + "\n")
    print(output)


if __name__ == "__main__":
    main()
