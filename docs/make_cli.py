"""Write docs/cli.md from the --help of every command. `make docs` runs it; a test compares."""

from __future__ import annotations

import io
import os
from contextlib import redirect_stdout, suppress
from pathlib import Path
from unittest.mock import patch

from edgefr.cli import COMMANDS, GROUP_COMMANDS, app

PAGE = Path(__file__).with_name("cli.md")
GROUPS = {"": COMMANDS} | {f"{group} ": commands for group, commands in GROUP_COMMANDS.items()}


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
    output = io.StringIO()
    wide = patch.dict(os.environ, COLUMNS="100", NO_COLOR="1")
    with wide, redirect_stdout(output), suppress(SystemExit):  # with which every --help ends
        app([*arguments, "--help"], prog_name="edgefr")
    lines = "\n".join(line.rstrip() for line in output.getvalue().strip().splitlines())
    return f"```\n{lines}\n```"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
