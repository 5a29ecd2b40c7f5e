"""Recipes: TOML files that say what to train, as frozen dataclasses.

Strings may name environment variables (`$EDGEFR_SHARED/data/...`); `base = "other.toml"` takes over what another
recipe beside it says and the file does not; `--set key.path=value` overrides a value.
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

from edgefr.errors import EdgefrError

T = TypeVar("T")

MAX_BYTES = 1 << 20
MAX_BASES = 8


def read_toml(cls: type[T], path: Path, overrides: Sequence[str] = ()) -> T:
    """Read a TOML file into the dataclass `cls`, every `key.path=value` of `overrides` applied.

    Raises:
        EdgefrError: the file is missing or no TOML, a key is unknown or missing, or a value has another type.
    """
    raw = _read(path, MAX_BASES)
    for override in overrides:
        _override(raw, override)
    recipe: T = _build(cls, raw, "")
    return recipe


def _read(path: Path, bases: int) -> dict[str, Any]:
    """A recipe over its base, which may have one, too: so many in all."""
    if not path.is_file():
        raise EdgefrError(f"a recipe at {path}", "no file", "list the recipes with `ls train/*.toml`")
    if path.stat().st_size > MAX_BYTES:
        raise EdgefrError(f"a recipe of at most 1 MiB at {path}", "a larger file", "check the path")
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise EdgefrError(f"TOML in {path}", str(error), "correct the recipe") from error
    base = raw.pop("base", None)
    if base is None:
        return raw
    if not isinstance(base, str) or bases == 0:
        raise EdgefrError(
            f"base in {path} to be the name of a recipe, at most {MAX_BASES} on top of each other",
            f"{base!r}",
            "correct the recipe",
        )
    return _over(_read(path.parent / base, bases - 1), raw)


def _over(base: dict[str, Any], raw: dict[str, Any]) -> dict[str, Any]:
    """`base` with what `raw` says: tables key by key, everything else as a whole."""
    merged = dict(base)
    for key, value in raw.items():
        below = merged.get(key)
        merged[key] = _over(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return merged


def _override(raw: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not (key and equals):
        raise EdgefrError("--set key.path=value", f"{override!r}", "write for example --set fusion.kv=self")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text  # a bare word is a string
    *tables, name = key.split(".")
    for table in tables:
        raw = raw.setdefault(table, {})
        if not isinstance(raw, dict):
            raise EdgefrError(f"a table at {table} of --set {override}", "a value", "check the key")
    raw[name] = value


def _build(hint: Any, value: Any, where: str) -> Any:
    """`value` as the type `hint`; `where` is its key path, for errors."""
    origin = get_origin(hint)
    if is_dataclass(hint) and isinstance(hint, type):
        return _build_table(hint, value, where)
    if origin is Literal:
        return _expect(value in get_args(hint), value, value, f"one of {', '.join(map(str, get_args(hint)))}", where)
    if origin is tuple:
        _expect(isinstance(value, list), value, value, "a list", where)
        return tuple(_build(get_args(hint)[0], item, f"{where}[{index}]") for index, item in enumerate(value))
    if origin in (Union, UnionType):
        return _build(next(option for option in get_args(hint) if option is not type(None)), value, where)
    if hint is Path:
        _expect(isinstance(value, str), value, value, "a path", where)
        return Path(_expand(value, where))
    if hint is float:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return _expect(number, value, float(value) if number else 0.0, "a number", where)
    return _expect(
        type(value) is hint,
        value,
        value,
        {str: "text", int: "a whole number"}.get(hint, "true or false"),
        where,
    )


def _build_table(cls: type[Any], value: Any, where: str) -> Any:
    _expect(isinstance(value, dict), value, value, "a table", where or "the recipe")
    hints = get_type_hints(cls)
    known = {entry.name: entry for entry in fields(cls)}
    for key in value.keys() - known.keys():
        raise EdgefrError(f"the keys {', '.join(known)} in {where or 'the recipe'}", f"{key!r}", "correct the recipe")
    for name, entry in known.items():
        if name not in value and entry.default is MISSING and entry.default_factory is MISSING:
            raise EdgefrError(f"{_join(where, name)} in the recipe", "it missing", "add it or use --set")
    return cls(**{key: _build(hints[key], item, _join(where, key)) for key, item in value.items()})


def _join(where: str, key: str) -> str:
    return f"{where}.{key}" if where else key


def _expect(good: bool, found: Any, value: Any, expected: str, where: str) -> Any:
    if not good:
        raise EdgefrError(f"{where} to be {expected}", f"{found!r}", "correct the recipe")
    return value


def _expand(text: str, where: str) -> str:
    expanded = os.path.expanduser(os.path.expandvars(text))  # noqa: PTH111 - before it is a path
    if unset := re.search(r"\$\{?(\w+)", expanded):
        raise EdgefrError(
            f"the environment variable {unset[1]} for {where} = {text!r}",
            "it unset",
            f"export {unset[1]}=FOLDER, or --set {where}=PATH",
        )
    return expanded
