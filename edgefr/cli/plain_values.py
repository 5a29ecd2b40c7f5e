"""Converts the plain values of options and arguments without pydantic.

From 0.29 on, typer converts every value by pydantic, whose import takes longer than the rest of the command line. The
values that nearly all calls consist of need none of it. Whatever is not plain, wrong values first, is left to typer, so
that what is accepted and how it is refused stays the same.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from typer.core import TyperCommand

PATTERNS: dict[Any, re.Pattern[str]] = {
    int: re.compile(r"-?[0-9]{1,15}"),
    float: re.compile(r"-?[0-9]{1,15}(\.[0-9]{1,15})?(e-?[0-9]{1,2})?"),
}


class PlainCommand(TyperCommand):
    """A command whose plain values are converted here."""

    def get_params(self, ctx: Any) -> list[Any]:
        return with_plain_values(super().get_params(ctx))


def with_plain_values(parameters: list[Any]) -> list[Any]:
    """The same options and arguments, which now convert plain values without pydantic."""
    for parameter in parameters:
        # typer up to 0.28 has no descriptor and converts by click
        if hasattr(parameter, "type_descriptor") and "process_value" not in vars(parameter):
            parameter.process_value = partial(_process_value, parameter, parameter.process_value)
    return parameters


class _NotPlainError(Exception):
    """Typer has to convert the value, or to refuse it."""


def _process_value(parameter: Any, by_typer: Callable[[Any, Any], Any], context: Any, value: Any) -> Any:
    try:
        plain = _plain(parameter, value)
    except _NotPlainError:
        return by_typer(context, value)
    return plain if parameter.callback is None else parameter.callback(context, parameter, plain)


def _plain(parameter: Any, value: Any) -> Any:
    annotation = parameter.type_descriptor.annotation
    several = parameter.multiple or parameter.nargs == -1
    if parameter.required and (value is None or (several and not value)):
        raise _NotPlainError
    if value is None:
        return () if several else None
    if not several:
        return _converted(annotation, value, parameter)
    if get_origin(annotation) is not list or not isinstance(value, list | tuple):
        raise _NotPlainError
    return [_converted(get_args(annotation)[0], entry, parameter) for entry in value]


def _converted(annotation: Any, value: Any, parameter: Any) -> Any:
    """One value in the type of the parameter. A default has it already."""
    is_own = isinstance(annotation, type) and type(value) is annotation
    if annotation in (bool, str) and is_own:
        return value
    if get_origin(annotation) is Literal and isinstance(value, str) and value in get_args(annotation):
        return value
    if annotation is Path and isinstance(value, str | Path) and _is_readable(value):
        return Path(value)
    if annotation in PATTERNS and (is_own or (isinstance(value, str) and PATTERNS[annotation].fullmatch(value))):
        number = annotation(value)
        if (parameter.min is None or number >= parameter.min) and (parameter.max is None or number <= parameter.max):
            return number
    raise _NotPlainError


def _is_readable(path: str | Path) -> bool:
    """Whether typer takes a path: it may be missing, but not forbidden."""
    return not os.access(path, os.F_OK) or os.access(path, os.R_OK)
