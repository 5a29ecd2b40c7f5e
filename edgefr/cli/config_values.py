"""What the tables of `edgefr.toml` mean: the options of a command, from its own table and from common ones."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from edgefr.cli.config_file import ConfigError, ConfigFile, Keys
from edgefr.io.credentials import is_given

COMMON: dict[str, tuple[str, ...]] = {
    "model": ("model", "detector", "liveness", "liveness-threshold", "runtime", "precision"),
    "gallery": ("gallery", "key-file", "passphrase-env", "passphrase-fd", "pin", "expect", "log-days"),
}
"""Common table -> keys that commands of use take from it if they have them."""
USE = re.compile("verify|embed|watch|serve|gallery .*")
"""Commands of use. For those that prove or teach, `model` and `runtime` mean something else."""
VARIABLES = {
    "model": "EDGEFR_MODEL",
    "detector": "EDGEFR_DETECTOR",
    "gallery": "EDGEFR_GALLERY",
    "key_file": "EDGEFR_GALLERY_KEY",
    "pin": "EDGEFR_GALLERY_PIN",
    "log_days": "EDGEFR_LOG_DAYS",
    "source": "EDGEFR_SOURCE",
    "log_format": "EDGEFR_LOG_FORMAT",
}
"""Option -> environment variable that stands above the file."""
NAMES_OR_FILES = ("model", "detector", "liveness")
"""Options that take the name of a model, which is no path."""
EXTENSION = re.compile(r"\.[A-Za-z]\w*$")
ADDRESS = re.compile(r"[a-z-]+:|[0-9]+$|off$|[^!]*!")
"""Values of `gallery`, `pin` and `source` that are no path: an address, a number, "off" and a pipeline."""


@dataclass(frozen=True)
class Setting:
    """The value of one option in a file.

    Attributes:
        option: Name of the parameter of the command, as "key_file".
        value: What the command would get on the command line: text, a list of texts, or true or false.
        keys: Where it is in the file.
    """

    option: str
    value: str | bool | list[str]
    keys: Keys


def raise_fault(error: ConfigError) -> None:
    """What to do with a fault by default."""
    raise error


def command_settings(
    file: ConfigFile, command: str, parameters: Sequence[Any], on_fault: Callable[[ConfigError], None] = raise_fault
) -> dict[str, Setting]:
    """The options that a file gives to a command.

    Args:
        file: The file.
        command: The command as it is typed, for example "gallery enroll".
        parameters: Its parameters.
        on_fault: Called with each fault of its tables.

    Returns:
        Name of the parameter -> setting.

    Raises:
        ConfigError: A key of its tables is unknown, or has a wrong value; without `on_fault`.
    """
    known = {key_of(each): each for each in parameters if not each.required and each.name != "help"}
    found: dict[str, Setting] = {}
    try:
        tables = [*_common_tables(file, command), (tuple(command.split()), _own_table(file, command), tuple(known))]
    except ConfigError as error:
        on_fault(error)
        return found
    for table, values, keys in tables:
        for key, value in values.items():
            try:
                if key not in keys:
                    raise unknown_key(file, (*table, key), keys)
                if key in known:
                    found[known[key].name] = _setting(file, (*table, key), value, known[key])
            except ConfigError as error:
                on_fault(error)
    return found


def defaults(settings: Mapping[str, Setting]) -> dict[str, Any]:
    """The values that a command takes as its defaults: all but those that the environment gives."""
    return {
        option: setting.value
        for option, setting in settings.items()
        if option not in VARIABLES or not is_given(VARIABLES[option])
    }


def key_of(parameter: Any) -> str:
    """How a file spells a parameter: as the command line does, without the dashes before it."""
    if parameter.param_type_name == "argument":
        return str(parameter.name)
    return max((str(option) for option in parameter.opts), key=len).lstrip("-")


def unknown_key(file: ConfigFile, keys: Keys, known: Sequence[str]) -> ConfigError:
    """The error for a key or a table that has no meaning, with the nearest one that has."""
    *tables, key = keys
    nearest = get_close_matches(key.replace("_", "-"), known, 1)
    where = f"[{'.'.join(tables)}]" if tables else "the file"
    fix = f"write {nearest[0]}" if nearest else f"remove it; {where} can have: {', '.join(sorted(known))}"
    return file.fault(keys, f"a key of {where}" if tables else "the table of a command", repr(key), fix)


def _common_tables(file: ConfigFile, command: str) -> Iterator[tuple[Keys, dict[str, Any], tuple[str, ...]]]:
    """Name, values and known keys of the common tables for a command."""
    if USE.fullmatch(command):
        for name, keys in COMMON.items():
            values = _table(file, file.tables, (name,))
            yield (name,), {key: value for key, value in values.items() if not _is_command(name, value)}, keys


def _own_table(file: ConfigFile, command: str) -> dict[str, Any]:
    """The table of a command itself. [gallery.enroll] is in [gallery], whose other keys are options."""
    values, path = file.tables, tuple(command.split())
    for depth, name in enumerate(path, 1):
        if depth > 1 and path[0] in COMMON and not isinstance(values.get(name), dict):
            return {}  # `pin` is the name of an option and of a command
        values = _table(file, values, path[:depth])
    return values


def _table(file: ConfigFile, values: dict[str, Any], path: Keys) -> dict[str, Any]:
    table = values.get(path[-1], {})
    if not isinstance(table, dict):
        name = ".".join(path)
        raise file.fault(path, f"the table [{name}]", f"a value ({name} = ...)", f"write [{name}] on a line of its own")
    return table


def _is_command(table: str, value: Any) -> bool:
    """Whether it is the table of a command of a group, such as [gallery.enroll]."""
    return table == "gallery" and isinstance(value, dict)


def _setting(file: ConfigFile, keys: Keys, value: Any, parameter: Any) -> Setting:
    """Check a value as the command line would, and make its relative paths those of the file's folder."""
    several = getattr(parameter, "multiple", False) or parameter.nargs == -1
    expected = _expected(value, parameter, several)
    if expected is not None:
        raise file.fault(keys, f"{expected} for {'.'.join(keys)}", repr(value), "correct the value")
    given = value if isinstance(value, bool) else [*map(str, value)] if several else str(value)
    given = _in_folder(given, parameter, file.path.absolute().parent)
    from typer import BadParameter

    try:
        parameter.process_value(None, given)
    except BadParameter as error:
        found = f"{value!r} ({error.message.rstrip('.')})"
        raise file.fault(keys, f"a valid value for {'.'.join(keys)}", found, "correct the value") from error
    return Setting(parameter.name, given, keys)


def _expected(value: Any, parameter: Any, several: bool) -> str | None:
    """What a value of the wrong kind should be; None if the kind is right."""
    if getattr(parameter, "is_flag", False):
        return None if isinstance(value, bool) else "true or false"
    if several:
        return None if isinstance(value, list) and all(map(_is_plain, value)) else "a list of texts"
    return None if _is_plain(value) else "a text or a number"


def _is_plain(value: Any) -> bool:
    return isinstance(value, str | int | float) and not isinstance(value, bool)


def _in_folder(given: Any, parameter: Any, folder: Path) -> Any:
    """The same value with relative paths turned into those of a folder, and `~` into the home directory."""
    if isinstance(given, list):
        return [_in_folder(entry, parameter, folder) for entry in given]
    if isinstance(given, bool) or not _is_path(parameter, given):
        return given
    return str(folder / Path(given).expanduser())


def _is_path(parameter: Any, text: str) -> bool:
    if parameter.name in NAMES_OR_FILES:
        return "/" in text or EXTENSION.search(text) is not None
    if parameter.name in ("gallery", "pin", "source"):
        return ADDRESS.match(text) is None
    if hasattr(parameter, "type_descriptor"):
        return parameter.type_descriptor.annotation in (Path, list[Path])
    return str(parameter.type.name) == "path"  # typer up to 0.28
