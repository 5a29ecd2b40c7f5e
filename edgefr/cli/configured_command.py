"""Commands whose options have defaults in `edgefr.toml`."""

from __future__ import annotations

from typing import Any

from edgefr.cli.config_file import ConfigFile, config_path
from edgefr.cli.plain_values import PlainCommand, with_plain_values

WITHOUT_CONFIG = ("config", "service", "doctor")
"""Commands that a faulty file must not stop, because they say what is wrong with it."""
HELP = {"-h", "--help"}


class ConfiguredCommand(PlainCommand):
    """A command that takes what is not on its command line from the configuration file."""

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        command = _as_typed(info_name, parent)
        # A page of help shows edgefr's own defaults, and completion must not fail.
        wanted = not extra.get("resilient_parsing") and "default_map" not in extra and HELP.isdisjoint(args)
        if wanted and command.partition(" ")[0] not in WITHOUT_CONFIG and (path := config_path()) is not None:
            from edgefr.cli.config_values import command_settings, defaults

            parameters = with_plain_values(list(self.params))
            extra["default_map"] = defaults(command_settings(ConfigFile.read(path), command, parameters))
        return super().make_context(info_name, args, parent, **extra)


def _as_typed(info_name: str | None, parent: Any) -> str:
    """The command as it is typed after `edgefr`."""
    names = [info_name or ""]
    while parent is not None and parent.parent is not None:
        names.insert(0, parent.info_name)
        parent = parent.parent
    return " ".join(names)
