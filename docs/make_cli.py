"""Writes docs/cli.md from what every command's --help says; `make docs` runs it, a test compares."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

PAGE = Path(__file__).with_name("cli.md")
VERBS: tuple[str, ...] = (
    "verify",
    "embed",
    "gallery enroll",
    "gallery identify",
    "gallery list",
    "gallery show",
    "gallery remove",
    "gallery rename",
    "gallery audit",
    "gallery export",
    "gallery import",
    "gallery rotate-key",
    "gallery rebuild",
    "data check",
    "data align",
    "train",
    "sweep",
    "distill",
    "train-detector",
    "eval",
    "calibrate",
    "export",
    "parity",
    "bench",
    "doctor",
    "demo",
)


def page() -> str:
    """The whole page as text."""
    parts = ["# The command line", "Made from `--help` by `make docs`.", block([])]
    for verb in VERBS:
        parts += [f"## edgefr {verb}", block(verb.split())]
    return "\n\n".join(parts) + "\n"


def block(arguments: list[str]) -> str:
    environment = os.environ | {"COLUMNS": "100", "TERMINAL_WIDTH": "100", "NO_COLOR": "1"}
    told = subprocess.run(  # noqa: S603 - this interpreter, these words
        [sys.executable, "-m", "edgefr", *arguments, "--help"],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    lines = "\n".join(line.rstrip() for line in told.stdout.strip().splitlines())
    return f"```\n{lines}\n```".replace("python -m edgefr", "edgefr")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
