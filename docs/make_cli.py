"""Write docs/cli.md from the --help of every command. `make docs` runs it; a test compares."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from edgefr.cli import COMMANDS, DATA_COMMANDS, GALLERY_COMMANDS, MODELS_COMMANDS

PAGE = Path(__file__).with_name("cli.md")
GROUPS = {"": COMMANDS, "gallery ": GALLERY_COMMANDS, "models ": MODELS_COMMANDS, "data ": DATA_COMMANDS}


def commands() -> list[str]:
    """Every command as it is typed, such as "gallery enroll"."""
    names = [prefix + name for prefix, group in GROUPS.items() for name in group]
    first = names.index("models get")
    return [*names[:first], "models", *names[first:]]  # without a command it lists models


def page() -> str:
    """The whole page as text."""
    parts = ["# The command line", "Made from `--help` by `make docs`.", _help([])]
    for command in commands():
        parts += [f"## edgefr {command}", _help(command.split())]
    return "\n\n".join(parts) + "\n"


def _help(arguments: list[str]) -> str:
    environment = os.environ | {"COLUMNS": "100", "TERMINAL_WIDTH": "100", "NO_COLOR": "1"}
    completed = subprocess.run(  # noqa: S603 - this interpreter and fixed arguments
        [sys.executable, "-m", "edgefr", *arguments, "--help"],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    lines = "\n".join(line.rstrip() for line in completed.stdout.strip().splitlines())
    return f"```\n{lines}\n```"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
