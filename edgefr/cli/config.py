"""edgefr config: check, show"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgefr.cli.config_file import CONFIG_VARIABLE, SYSTEM_FILE, ConfigFile, config_path
from edgefr.cli.options import JsonOption
from edgefr.cli.output import print_json, table
from edgefr.errors import UnavailableError


def check(
    file: Annotated[
        Path | None,
        typer.Argument(
            help="The file. Default: $EDGEFR_CONFIG, ~/.config/edgefr/edgefr.toml, /etc/edgefr/edgefr.toml."
        ),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Check a configuration file: every key and value against the options of the commands.

    Exit 0 no fault, 1 faults, 2 the file cannot be read.
    """
    from edgefr.cli.config_check import config_faults

    path = file or config_path()
    if path is None:
        raise UnavailableError("a configuration file", "none", f"write {SYSTEM_FILE}, or name a file")
    faults = config_faults(ConfigFile.read(path))
    if json:
        print_json(
            {
                "file": str(path),
                "faults": [
                    {"key": fault.key, "line": fault.line, "problem": fault.problem, "fix": fault.fix}
                    for fault in faults
                ],
            }
        )
    else:
        print("\n".join(map(str, faults)) or f"{path} has no faults.")
    raise typer.Exit(1 if faults else 0)


def show(
    command: Annotated[
        list[str] | None, typer.Argument(help="A command, as `watch` or `gallery enroll`: show all of its options.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Show the values in effect and where each comes from: the environment, the configuration file or a default.

    Without a command: the values that the file and the environment give. Options of the command line stand above both.
    Secrets are not shown.
    """
    from edgefr.cli.config_shown import shown_options, shown_variables

    path = config_path()
    file = ConfigFile(Path(), "", {}) if path is None else ConfigFile.read(path)
    entries = shown_options(file, " ".join(command)) if command else shown_variables(file)
    if json:
        print_json({"file": None if path is None else str(path), "values": [vars(entry) for entry in entries]})
        return
    print(f"Configuration file: {path or f'none; ${CONFIG_VARIABLE} or {SYSTEM_FILE} would be read'}")
    if entries:
        print(table(["key", "value", "from"], [[entry.key, entry.text, entry.source] for entry in entries]))
