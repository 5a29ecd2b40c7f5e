"""Reads TOML files such as training recipes into frozen dataclasses.

Strings may name environment variables (`$EDGEFR_SHARED/data/...`). `base = "other.toml"` inherits from another file in
the same folder, and `--set key.path=value` overrides a value.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from types import UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

from edgefr.errors import InvalidArgumentError

T = TypeVar("T")

MAX_BYTES = 1 << 20
MAX_BASES = 8


def read_toml(cls: type[T], path: Path, overrides: Sequence[str] = ()) -> T:
    """Read a TOML file into a dataclass.

    Args:
        cls: A dataclass of plain values, paths, tuples and other such dataclasses.
        path: The file.
        overrides: `key.path=value` for each value to override.

    Returns:
        An instance of `cls`.

    Raises:
        InvalidArgumentError: The file is missing or not TOML, a key is unknown or missing, or a value has the wrong
            type.
    """
    raw = _read(path, MAX_BASES)
    for override in overrides:
        _override(raw, override)
    recipe: T = _build(cls, raw, "")
    return recipe


def _read(path: Path, bases: int) -> dict[str, Any]:
    """The tables of a file over those of its base. `bases` is how many more bases are allowed."""
    if not path.is_file():
        raise InvalidArgumentError(f"a recipe at {path}", "no file", "list the recipes with `ls train/*.toml`")
    if path.stat().st_size > MAX_BYTES:
        raise InvalidArgumentError(f"a recipe of at most 1 MiB at {path}", "a larger file", "check the path")
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidArgumentError(f"TOML in {path}", str(error), "correct the recipe") from error
    base = raw.pop("base", None)
    if base is None:
        return raw
    if not isinstance(base, str) or bases == 0:
        raise InvalidArgumentError(
            f"base in {path} to name a recipe, in a chain of at most {MAX_BASES}",
            f"{base!r}",
            "correct the recipe",
        )
    return _merge(_read(path.parent / base, bases - 1), raw)


def _merge(base: dict[str, Any], raw: dict[str, Any]) -> dict[str, Any]:
    """`base` with the values of `raw`: tables are merged key by key, everything else is replaced."""
    merged = dict(base)
    for key, value in raw.items():
        below = merged.get(key)
        merged[key] = _merge(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return merged


def _override(raw: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not (key and equals):
        raise InvalidArgumentError("--set key.path=value", f"{override!r}", "write it like --set fusion.kv=self")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text  # a bare word is a string
    *tables, name = key.split(".")
    for table in tables:
        raw = raw.setdefault(table, {})
        if not isinstance(raw, dict):
            raise InvalidArgumentError(f"a table at {table} of --set {override}", "a value", "check the key")
    raw[name] = value


def _build(hint: Any, value: Any, where: str) -> Any:
    """`value` as the type `hint`. `where` is its key path, for errors."""
    origin = get_origin(hint)
    if is_dataclass(hint) and isinstance(hint, type):
        return _build_table(hint, value, where)
    if origin is Literal:
        _expect(value in get_args(hint), value, f"one of {', '.join(map(str, get_args(hint)))}", where)
    elif origin is tuple:
        _expect(isinstance(value, list), value, "a list", where)
        return tuple(_build(get_args(hint)[0], item, f"{where}[{index}]") for index, item in enumerate(value))
    elif origin in (Union, UnionType):
        return _build(next(option for option in get_args(hint) if option is not type(None)), value, where)
    elif hint is Path:
        _expect(isinstance(value, str), value, "a path", where)
        return Path(_expand(value, where))
    elif hint is float:
        _expect(isinstance(value, int | float) and not isinstance(value, bool), value, "a number", where)
        return float(value)
    else:
        _expect(type(value) is hint, value, {str: "text", int: "a whole number"}.get(hint, "true or false"), where)
    return value


def _build_table(cls: type[Any], value: Any, where: str) -> Any:
    _expect(isinstance(value, dict), value, "a table", where or "the recipe")
    hints = get_type_hints(cls)
    known = {entry.name: entry for entry in fields(cls)}
    for key in value.keys() - known.keys():
        raise InvalidArgumentError(
            f"the keys {', '.join(known)} in {where or 'the recipe'}", f"{key!r}", "correct the recipe"
        )
    for name, entry in known.items():
        if name not in value and entry.default is MISSING and entry.default_factory is MISSING:
            raise InvalidArgumentError(
                f"{_join(where, name)} in the recipe", "that it is missing", "add it or use --set"
            )
    return cls(**{key: _build(hints[key], item, _join(where, key)) for key, item in value.items()})


def _join(where: str, key: str) -> str:
    return f"{where}.{key}" if where else key


def _expect(good: bool, value: Any, expected: str, where: str) -> None:
    if not good:
        raise InvalidArgumentError(f"{where} to be {expected}", f"{value!r}", "correct the recipe")


def _expand(text: str, where: str) -> str:
    expanded = os.path.expanduser(os.path.expandvars(text))  # noqa: PTH111 - before it is a path
    if unset := re.search(r"\$\{?(\w+)", expanded):
        raise InvalidArgumentError(
            f"the environment variable {unset[1]} for {where} = {text!r}",
            "that it is not set",
            f"run: export {unset[1]}=FOLDER, or use --set {where}=PATH",
        )
    return expanded
