"""Groups of commands that import only the command which is run: a device waits for every import at each start."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from edgefr.cli.configured_command import ConfiguredCommand
from edgefr.cli.plain_values import with_plain_values

# Rich markup and pretty tracebacks would load rich, which takes longer than `edgefr --help` may.
SETTINGS: dict[str, Any] = {"rich_markup_mode": None, "pretty_exceptions_enable": False}


@dataclass(frozen=True)
class Listed:
    """A command as the help of its group lists it.

    Attributes:
        place: Module below `edgefr.cli` and function, as "verify.verify"; or the function that makes a group.
        summary: The first sentence of its own help, which a test compares.
    """

    place: str | Callable[[], typer.Typer]
    summary: str

    def load(self, name: str) -> Any:
        """Import the command and give it as typer runs it."""
        if not isinstance(self.place, str):
            return typer.main.get_group(self.place())
        module, _, function = self.place.rpartition(".")
        single = typer.Typer(add_completion=False, **SETTINGS)
        command = survive_closed_pipe(getattr(import_module(f"edgefr.cli.{module}"), function))
        single.command(name, cls=ConfiguredCommand)(command)
        return typer.main.get_command(single)


class _Commands(Mapping[str, Any]):
    """Name -> command, imported when it is first asked for."""

    def __init__(self, listed: dict[str, Listed]) -> None:
        self._listed = listed
        self._loaded: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._loaded:
            self._loaded[name] = self._listed[name].load(name)
        return self._loaded[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._listed)

    def __len__(self) -> int:
        return len(self._listed)


def lazy_group(listed: dict[str, Listed], **settings: Any) -> typer.Typer:
    """A group of commands.

    Args:
        listed: Name -> command, in the order of the help.
        settings: More arguments of `typer.Typer`.
    """

    class Group(TyperGroup):
        def __init__(self, **attributes: Any) -> None:
            super().__init__(**attributes)
            self.commands = _Commands(listed)  # type: ignore[assignment]  # nothing writes to it

        def get_params(self, ctx: Any) -> list[Any]:
            return with_plain_values(super().get_params(ctx))

        def list_commands(self, ctx: Any) -> list[str]:
            return list(listed)

        def get_command(self, ctx: Any, cmd_name: str) -> Any:
            """A command as help and completion show it: by name and summary alone."""
            return TyperCommand(cmd_name, help=listed[cmd_name].summary) if cmd_name in listed else None

        def resolve_command(self, ctx: Any, args: list[str]) -> Any:
            name, command, rest = super().resolve_command(ctx, args)
            return name, self.commands[name] if command and name else None, rest

    return typer.Typer(cls=Group, **SETTINGS, **{"no_args_is_help": True} | settings)


def survive_closed_pipe(command: Callable[..., None]) -> Callable[..., None]:
    """Exit 141 if the reader of stdout goes away (`edgefr ... | head -1`), because 1 would mean "no"."""

    @functools.wraps(command)
    def wrapper(*arguments: Any, **options: Any) -> None:
        try:
            command(*arguments, **options)
            sys.stdout.flush()
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else Python complains when it exits
            os._exit(141)

    return wrapper
