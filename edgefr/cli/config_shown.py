"""The values in effect and where each comes from, without secrets."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgefr.cli.config_check import command_parameters
from edgefr.cli.config_file import ConfigFile
from edgefr.cli.config_values import VARIABLES, Setting, command_settings, key_of
from edgefr.errors import InvalidArgumentError
from edgefr.io.credentials import credential

PREFIX = "EDGEFR_"
SECRET = re.compile(r"TOKEN|PASSWORD|PASSPHRASE|SECRET|_USER$")
"""Variables whose values are not shown."""
LOGIN = re.compile(r"(?<=://)[^/\s@:]*:[^/\s]*@|(?<=user-pw=)\S+|(?<=password=)\S+|(?<=passwd=)\S+|\?\S*")
"""User and password of a URL, its query, and passwords of a GStreamer pipeline."""


@dataclass(frozen=True)
class Shown:
    """A value in effect.

    Attributes:
        key: The key as a file spells it, or an environment variable.
        value: The value; "(secret)" in place of a secret.
        source: Where it comes from.
    """

    key: str
    value: Any
    source: str

    @property
    def text(self) -> str:
        """The value for a table."""
        if isinstance(self.value, bool | None):
            return {True: "true", False: "false", None: ""}[self.value]
        return ", ".join(map(str, self.value)) if isinstance(self.value, list | tuple) else str(self.value)


def shown_options(file: ConfigFile, command: str) -> list[Shown]:
    """All options of a command.

    Raises:
        InvalidArgumentError: There is no such command, or the file has a fault in its tables.
    """
    parameters = command_parameters(command)
    if parameters is None:
        raise InvalidArgumentError("a command such as `watch` or `gallery enroll`", command, "see `edgefr --help`")
    settings = command_settings(file, command, parameters)
    return [_shown(each, settings.get(each.name), file) for each in parameters if not each.required]


def shown_variables(file: ConfigFile) -> list[Shown]:
    """What the file and the environment give, whatever the command."""
    from edgefr.cli.config_file import key_lines

    variables = sorted(name for name in os.environ if name.startswith(PREFIX))
    found = [Shown(name, _variable(name), "environment") for name in variables]
    for line, keys in key_lines(file.text):
        value: Any = file.tables
        for key in keys:
            value = value[key]
        if not isinstance(value, dict):
            found.append(Shown(".".join(keys), _without_login(value), f"{file.path}:{line}"))
    return found


def _shown(parameter: Any, setting: Setting | None, file: ConfigFile) -> Shown:
    key = key_of(parameter)
    variable = VARIABLES.get(parameter.name, "")
    if variable and os.environ.get(variable):
        return Shown(key, _variable(variable), f"${variable}")
    if variable and credential(variable) is not None:
        return Shown(key, "(secret)", f"credential {variable}")
    if setting is not None:
        line = file.line(setting.keys)
        return Shown(key, _without_login(setting.value), f"{file.path}:{line}")
    default = parameter.default
    return Shown(key, str(default) if isinstance(default, Path) else default, "default")


def _variable(name: str) -> str:
    return "(secret)" if SECRET.search(name) else str(_without_login(os.environ[name]))


def _without_login(value: Any) -> Any:
    if isinstance(value, list):
        return [_without_login(entry) for entry in value]
    return LOGIN.sub("", value) if isinstance(value, str) else value
