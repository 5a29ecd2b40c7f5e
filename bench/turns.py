"""Commands measured in turns: on a shared machine only ratios within one round mean something."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

BEFORE_VARIABLE = "EDGEFR_BEFORE"
"""The environment variable that names a checkout of an older version, to compare with."""

REPOSITORY = Path(__file__).parent.parent


@dataclass(frozen=True)
class Command:
    """A command line and its environment, on top of that of this process."""

    arguments: list[str]
    environment: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Run:
    """What one run of a command took: seconds, and the most memory in MiB."""

    seconds: float
    peak_mib: float


def edgefr_of(checkout: Path, *arguments: object, **environment: str) -> Command:
    """A command of edgefr as it is in a checkout."""
    command = [sys.executable, "-m", "edgefr", *map(str, arguments)]
    return Command(command, {"PYTHONPATH": str(checkout)} | environment)


def checkout_before() -> Path | None:
    """The checkout of the older version, if there is one."""
    named = os.environ.get(BEFORE_VARIABLE)
    return Path(named).resolve() if named else None


def in_turns(commands: dict[str, Command], rounds: int) -> dict[str, list[Run]]:
    """Run each command once in every round, after a first round that only warms caches."""
    runs: dict[str, list[Run]] = {name: [] for name in commands}
    for number in range(rounds + 1):
        for name, command in commands.items():
            found = _run(command)
            if number:
                runs[name].append(found)
    return runs


def compare(runs: dict[str, list[Run]], name: str, with_name: str) -> dict[str, Any]:
    """Medians of two commands, and the median of the ratios of their rounds."""
    own, other = runs[name], runs[with_name]
    return {
        "p50_ms": round(1e3 * median(run.seconds for run in own), 1),
        f"{with_name}_p50_ms": round(1e3 * median(run.seconds for run in other), 1),
        "ratio": round(median(a.seconds / b.seconds for a, b in zip(own, other, strict=True)), 3),
        "peak_mib": round(median(run.peak_mib for run in own), 1),
        f"{with_name}_peak_mib": round(median(run.peak_mib for run in other), 1),
        "rounds": len(own),
    }


def _run(command: Command) -> Run:
    # Installed packages are compiled to bytecode, which this variable would prevent for a checkout.
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    start = perf_counter()
    process = subprocess.Popen(
        command.arguments,
        env=inherited | command.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd="/",  # else the checkout in the current folder would be imported
    )
    _, status, usage = os.wait4(process.pid, 0)
    seconds = perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode not in (0, 1):  # 1: different people
        raise subprocess.CalledProcessError(process.returncode, command.arguments)
    return Run(seconds, usage.ru_maxrss / 1024)
