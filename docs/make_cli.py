"""Writes docs/cli.md from what every command's --help says; `make docs` runs it, a test compares."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from edgefr.cli import app

PAGE = Path(__file__).with_name("cli.md")


def verbs() -> list[str]:
    """Every command as it is typed, those of a group after the group's name."""
    found = []
    for group, prefix in [(app, ""), *((entry.typer_instance, f"{entry.name} ") for entry in app.registered_groups)]:
        assert group is not None
        for command in group.registered_commands:
            assert command.callback is not None
            found.append(prefix + (command.name or command.callback.__name__.replace("_", "-")))
    return found


def page() -> str:
    """The whole page as text."""
    parts = ["# The command line", "Made from `--help` by `make docs`.", block([])]
    for verb in verbs():
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
