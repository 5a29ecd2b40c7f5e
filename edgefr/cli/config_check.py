"""Checks all tables of a configuration file against the commands that they belong to."""

from __future__ import annotations

from typing import Any

from edgefr.cli.config_file import ConfigError, ConfigFile
from edgefr.cli.config_values import COMMON, command_settings, unknown_key
from edgefr.cli.configured_command import WITHOUT_CONFIG
from edgefr.cli.plain_values import with_plain_values

USERS = ("verify", "gallery list")
"""Commands that have all options of the common tables."""


def command_parameters(command: str) -> list[Any] | None:
    """The options and arguments of a command, None if there is no such command.

    Args:
        command: The command as it is typed, for example "gallery enroll".
    """
    from edgefr.cli import COMMANDS, GROUP_COMMANDS

    group, _, name = command.rpartition(" ")
    listed = (GROUP_COMMANDS.get(group, {}) if group else COMMANDS).get(name)
    return None if listed is None else with_plain_values(list(listed.load(name).params))


def config_faults(file: ConfigFile) -> list[ConfigError]:
    """Everything that is wrong with a file, in the order of its lines."""
    from edgefr.cli import COMMANDS, GROUP_COMMANDS

    faults: list[ConfigError] = []
    commands = [*USERS]
    for name, values in file.tables.items():
        if not isinstance(values, dict):
            fix = "put it below the table of its command, such as [watch]"
            faults.append(file.fault((name,), "keys only in tables", f"{name!r} above the first one", fix))
        elif name in COMMANDS:
            commands.append(name)
        elif name in GROUP_COMMANDS:
            group = GROUP_COMMANDS[name]
            for key, value in values.items():
                if key in group and (isinstance(value, dict) or name not in COMMON):
                    commands.append(f"{name} {key}")
                elif isinstance(value, dict) or name not in COMMON:
                    faults.append(unknown_key(file, (name, key), tuple(group)))
        elif name not in COMMON:
            faults.append(unknown_key(file, (name,), sorted({*COMMON, *COMMANDS, *GROUP_COMMANDS} - {*WITHOUT_CONFIG})))
    for command in commands:
        command_settings(file, command, command_parameters(command) or (), faults.append)
    unique = {(fault.line, str(fault)): fault for fault in faults}
    return [unique[key] for key in sorted(unique)]
