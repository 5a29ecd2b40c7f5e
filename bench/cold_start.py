"""Time and memory from the start of the process to its result: `edgefr verify` and pages of help.

`verify` is compared with a minimal script of OpenCV and onnxruntime that uses the same files (`bare_verify.py`), help
with an empty Python, and both with the version before, if $EDGEFR_BEFORE names a checkout of it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from bench.lfw import YUNET
from bench.turns import REPOSITORY, Command, checkout_before, compare, edgefr_of, in_turns
from edgefr.models import SPOT, shipped_model

ROUNDS = 21


def run(data: Path, model: Path) -> dict[str, Any]:
    """Medians, and medians of the ratios of each round."""
    photos = [data / "photos" / name for name in ("obama.jpg", "obama2.jpg")]
    before = checkout_before()
    results: dict[str, Any] = {}
    for detector in (data / YUNET, shipped_model(SPOT)):
        options = ("-m", model.resolve(), "-d", detector.resolve())
        script = [Path(__file__).with_name("bare_verify.py"), *photos, model, detector]
        commands = {
            "edgefr": edgefr_of(REPOSITORY, "verify", *photos, *options),
            "bare": Command([sys.executable, *(str(Path(part).resolve()) for part in script)]),
        }
        if before is not None:
            commands["before"] = edgefr_of(before, "verify", *photos, *options)
        results |= _compared(commands, f"verify, {detector.stem}")
    for option in ("--help", "--version"):
        commands = {"edgefr": edgefr_of(REPOSITORY, option), "python": Command([sys.executable, "-c", "pass"])}
        if before is not None:
            commands["before"] = edgefr_of(before, option)
        results |= _compared(commands, option)
    return results


def _compared(commands: dict[str, Command], title: str) -> dict[str, Any]:
    runs = in_turns(commands, ROUNDS)
    return {f"{title}, of {other}": compare(runs, "edgefr", other) for other in commands if other != "edgefr"}
