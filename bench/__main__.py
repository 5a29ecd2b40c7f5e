"""`python -m bench [NAME ...]`: measure everything, or the named parts, and write bench/results/<machine>.json.

`python -m bench stores --store STORE --people N` prints one row instead, and `python -m bench opening --people N` how a
gallery in a file opens."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from bench.lfw import YUNET, data
from edgefr.engines.latency import describe_machine
from edgefr.io.files import atomic_write, sha256_of
from edgefr.models import MINI, shipped_model

RESULTS = Path(__file__).with_name("results")
MODEL = Path(os.environ.get("EDGEFR_MODEL", "export/artifacts/first.onnx"))
SPOT = Path(os.environ.get("EDGEFR_DETECTOR", "edgefr/assets/spot.onnx"))
BASELINE = Path("export/artifacts/arcface.onnx")
CHECKPOINT = Path("train/runs/first/fused.safetensors")
BULK_IMAGES = 100_000


def edgefr(*arguments: object) -> dict[str, Any]:
    """The output of `edgefr ... --json`. What the command writes to stderr is printed when it has ended.

    Raises:
        CalledProcessError: It failed, with its message in `stderr`.
    """
    command = [str(Path(sys.executable).with_name("edgefr")), *map(str, arguments), "--json"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    sys.stderr.write(result.stderr)
    result.check_returncode()
    document: dict[str, Any] = json.loads(result.stdout)
    return document


def _run(module: str, *arguments: object, **options: object) -> dict[str, Any]:
    """The result of a module's `run`. It is imported only now, because each needs other libraries."""
    result: dict[str, Any] = import_module(f"bench.{module}").run(*arguments, **options)
    return result


def _rows(*arguments: object) -> dict[str, Any]:
    return {"rows": edgefr("bench", *arguments)["rows"]}


def _bulk() -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="edgefr-bulk-") as folder:
        return _run("bulk", BULK_IMAGES, 3, 2, 0, "mini", Path(folder))


def _with_digest(model: Path, measure: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    return {"model_sha256": sha256_of(model), **measure()}


MEASUREMENTS: dict[str, Callable[[], dict[str, Any]]] = {
    "cold_start": lambda: _with_digest(shipped_model(MINI), lambda: _run("cold_start", data(), shipped_model(MINI))),
    "latency": lambda: _with_digest(MODEL, lambda: _rows(MODEL, "--batch", "1,8,32")),
    "r100": lambda: _rows("--arch", "r100", "--batch", "1,8", "--seconds", 20),
    "processor_runtimes": lambda: _run("processor_runtimes"),
    "parity": lambda: _with_digest(MODEL, lambda: _run("parity", data(), CHECKPOINT, MODEL)),
    "photographs": lambda: _with_digest(
        MODEL, lambda: _run("photographs", data(), {"fused": MODEL, "arcface": BASELINE})
    ),
    "photograph_rate": lambda: _run("photograph_rate", data()),
    "epoch": lambda: _run("epoch"),
    "network_steps": lambda: _run("network_steps"),
    "detector": lambda: _with_digest(SPOT, lambda: _run("detector", data(), SPOT)),
    "search": lambda: _run("search"),
    "watch": lambda: _with_digest(MODEL, lambda: _run("watch", data(), MODEL, data() / YUNET, frames=10_000)),
    "watch_rate": lambda: _with_digest(shipped_model(MINI), lambda: _run("watch_rate", data())),
    "triton": lambda: _with_digest(shipped_model(MINI), lambda: _run("triton")),
    "bulk": _bulk,
    "adopting": lambda: _run("adopting", data()),
    "same_net": lambda: _run("same_net", data()),
    "long_log": lambda: _run("long_log"),
}


def main() -> None:
    if sys.argv[1:2] in (["stores"], ["opening"]):  # with options of their own; stores need a server that runs
        import_module(f"bench.{sys.argv[1]}").main(sys.argv[2:])
        return
    here = describe_machine()
    name = re.sub(r"[^a-z0-9]+", "-", f"{here['cpu']} {here['cores']} cores".lower()).strip("-")
    path = RESULTS / f"{name}.json"
    results = json.loads(path.read_text()) if path.is_file() else {}
    measured: dict[str, dict[str, Any]] = {}
    for title, measure in MEASUREMENTS.items():
        if title not in (sys.argv[1:] or MEASUREMENTS):
            continue
        print(f"{title} ...", file=sys.stderr)
        try:
            results[title] = measured[title] = {"machine": here, **measure()}
        except FileNotFoundError as error:  # some models take hours to train, so a missing one is no failure
            print(f"{title} skipped: {error.filename or error} does not exist", file=sys.stderr)
            continue
        with atomic_write(path) as temporary:
            temporary.write_text(json.dumps(results, indent=2, sort_keys=True) + "\n")
    print(json.dumps(measured, indent=2))


if __name__ == "__main__":
    main()
