"""`python -m bench [NAME ...]`: measure and write bench/results/<machine>.json; all of them without a name.

`python -m bench stores --store STORE --people N` prints one row instead."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgefr.engines.latency import describe_machine
from edgefr.io.files import atomic_write, sha256_of
from edgefr.models import MINI, shipped_model

RESULTS = Path(__file__).with_name("results")
MODEL = Path(os.environ.get("EDGEFR_MODEL", "export/artifacts/first.onnx"))
SPOT = Path(os.environ.get("EDGEFR_DETECTOR", "edgefr/assets/spot.onnx"))
BULK_IMAGES = 100_000
BASELINE = Path("export/artifacts/arcface.onnx")


def data() -> Path:
    return Path(os.environ.get("EDGEFR_SHARED", "../shared")) / "data"


def edgefr(*arguments: object) -> dict[str, Any]:
    """What `edgefr ... --json` prints; what it says on stderr is passed on when it has ended.

    Raises:
        CalledProcessError: it failed, with its sentence in `stderr`.
    """
    command = [str(Path(sys.executable).with_name("edgefr")), *map(str, arguments), "--json"]
    told = subprocess.run(command, capture_output=True, text=True, check=False)
    sys.stderr.write(told.stderr)
    told.check_returncode()
    document: dict[str, Any] = json.loads(told.stdout)
    return document


def cold_start() -> dict[str, Any]:
    from bench.cold_start import run

    return {"model_sha256": sha256_of(MODEL), **run(data(), MODEL)}


def photographs() -> dict[str, Any]:
    from bench.photographs import run

    return {"model_sha256": sha256_of(MODEL), **run(data(), {"fused": MODEL, "arcface": BASELINE})}


def parity() -> dict[str, Any]:
    from bench.parity import run

    checkpoint = Path("train/runs/first/fused.safetensors")
    return {"model_sha256": sha256_of(MODEL), **run(data(), checkpoint, MODEL)}


def latency() -> dict[str, Any]:
    return {"model_sha256": sha256_of(MODEL), "rows": edgefr("bench", MODEL, "--batch", "1,8,32")["rows"]}


def r100() -> dict[str, Any]:
    return {"rows": edgefr("bench", "--arch", "r100", "--batch", "1,8", "--seconds", 20)["rows"]}


def quality() -> dict[str, Any]:
    from bench.quality import run

    checkpoint = Path("train/runs/small/fused.safetensors")
    return {"checkpoint_sha256": sha256_of(checkpoint), **run(data(), checkpoint)}


def epoch() -> dict[str, Any]:
    from bench.epoch import run

    return run()


def detector() -> dict[str, Any]:
    from bench.detector import run

    return {"model_sha256": sha256_of(SPOT), **run(data(), SPOT)}


def search() -> dict[str, Any]:
    from bench.search import run

    return run()


def watch() -> dict[str, Any]:
    from bench.watch import run

    return {
        "model_sha256": sha256_of(MODEL),
        **run(data(), MODEL, data() / "detectors/face_detection_yunet_2023mar.onnx", frames=10_000),
    }


def triton() -> dict[str, Any]:
    from bench.triton import run

    return {"model_sha256": sha256_of(shipped_model(MINI)), **run()}


def bulk() -> dict[str, Any]:
    from bench.bulk import run

    with tempfile.TemporaryDirectory(prefix="edgefr-bulk-") as folder:
        return run(BULK_IMAGES, 3, 2, 0, "mini", Path(folder))


MEASUREMENTS: tuple[Callable[[], dict[str, Any]], ...] = (
    cold_start,
    latency,
    r100,
    parity,
    photographs,
    quality,
    epoch,
    detector,
    search,
    watch,
    triton,
    bulk,
)


def main() -> None:
    if sys.argv[1:2] == ["stores"]:  # a store at a time, with a server that somebody has started
        from bench.stores import main as stores

        stores(sys.argv[2:])
        return
    here = describe_machine()
    name = re.sub(r"[^a-z0-9]+", "-", f"{here['cpu']} {here['cores']} cores".lower()).strip("-")
    path = RESULTS / f"{name}.json"
    results = json.loads(path.read_text()) if path.is_file() else {}
    measured: dict[str, dict[str, Any]] = {}
    wanted = sys.argv[1:] or [measure.__name__ for measure in MEASUREMENTS]
    for measure in MEASUREMENTS:
        if (title := measure.__name__) not in wanted:
            continue
        print(f"{title} ...", file=sys.stderr)
        try:
            results[title] = measured[title] = {"machine": here, **measure()}
        except FileNotFoundError as error:  # of models, some take hours to make: nothing here waits for them
            print(f"{title} left out: {error.filename or error} is not there", file=sys.stderr)
            continue
        with atomic_write(path) as temporary:
            temporary.write_text(json.dumps(results, indent=2, sort_keys=True) + "\n")
    print(json.dumps(measured, indent=2))


if __name__ == "__main__":
    main()
