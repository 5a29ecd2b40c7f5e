"""Reading TOML files into frozen dataclasses.

Text can contain environment variables (`$EDGEFR_SHARED/data/...`). `base = "other.toml"` inherits from another file
next to it. `--set key.path=value` overrides a value.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from pathlib import Path
from types import UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

from edgefr.errors import EdgefrError, InvalidArgumentError

T = TypeVar("T")

MAX_BYTES = 1 << 20
MAX_BASES = 8
KINDS = {str: "text", int: "a whole number", bool: "true or false"}


class InvalidSettingError(InvalidArgumentError):
    """A key of a file has a value that is not allowed, is unknown or is missing.

    Attributes:
        key: Its path, as "rules[0].when[1]". An unknown key is its end, and the table of a missing one.
    """

    def __init__(self, expected: str, found: str, fix: str, key: str = "") -> None:
        super().__init__(expected, found, fix)
        self.key = key


def read_toml(cls: type[T], path: Path, overrides: Sequence[str] = ()) -> T:
    """Read a TOML file into a dataclass.

    Args:
        cls: The dataclass; its fields are the keys, and dataclasses among their types are tables.
        path: The file.
        overrides: `key.path=value` each.

    Returns:
        An instance of `cls`.

    Raises:
        EdgefrError: The file is missing or not TOML, a key is unknown or missing, or a value has the wrong type.
    """
    raw = _read(path, MAX_BASES)
    for override in overrides:
        _override(raw, override)
    result: T = _build(cls, raw, "")
    return result


def _read(path: Path, bases: int) -> dict[str, Any]:
    """The tables of a file merged over those of its base; `bases` limits the chain."""
    if not path.is_file():
        raise EdgefrError(f"a recipe at {path}", "no file", "list the recipes with `ls train/*.toml`")
    if path.stat().st_size > MAX_BYTES:
        raise EdgefrError(f"a recipe of at most 1 MiB at {path}", "a larger file", "check the path")
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:  # arrays in arrays a thousand deep
        raise EdgefrError(f"TOML in {path}", str(error), "correct the file") from error
    base = raw.pop("base", None)
    if base is None:
        return raw
    if not isinstance(base, str) or bases == 0:
        raise InvalidArgumentError(
            f"base in {path} to be the name of a recipe, in a chain of at most {MAX_BASES}",
            f"{base!r}",
            "correct the file",
        )
    return _merge(_read(path.parent / base, bases - 1), raw)


def _merge(base: dict[str, Any], raw: dict[str, Any]) -> dict[str, Any]:
    """`base` updated by `raw`: tables key by key, everything else as a whole."""
    merged = dict(base)
    for key, value in raw.items():
        old = merged.get(key)
        merged[key] = _merge(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged


def _override(raw: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not (key and equals):
        raise InvalidArgumentError("--set key.path=value", f"{override!r}", "write for example --set fusion.kv=self")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except (tomllib.TOMLDecodeError, RecursionError):
        value = text  # a bare word is a string
    *tables, name = key.split(".")
    for table in tables:
        raw = raw.setdefault(table, {})
        if not isinstance(raw, dict):
            raise InvalidArgumentError(f"a table at {table} of --set {override}", "a value", "check the key")
    raw[name] = value


def _build(hint: Any, value: Any, key: str) -> Any:
    """Convert `value` to the type `hint`; `key` is its path for errors."""
    origin = get_origin(hint)
    if is_dataclass(hint) and isinstance(hint, type):
        return _build_table(hint, value, key)
    if origin is Literal:
        _check(value in get_args(hint), value, f"one of {', '.join(map(str, get_args(hint)))}", key)
        return value
    if origin is tuple:
        _check(isinstance(value, list), value, "a list", key)
        return tuple(_build(get_args(hint)[0], item, f"{key}[{index}]") for index, item in enumerate(value))
    if origin is dict:
        _check(isinstance(value, dict), value, "a table", key)
        return {name: _build(get_args(hint)[1], item, _join(key, name)) for name, item in value.items()}
    if origin in (Union, UnionType):
        return _build(next(option for option in get_args(hint) if option is not type(None)), value, key)
    if hint is Path:
        _check(isinstance(value, str), value, "a path", key)
        return Path(_expand(value, key))
    if hint is float:
        _check(type(value) in (int, float), value, "a number", key)
        return float(value)
    _check(type(value) is hint, value, KINDS[hint], key)
    return value


def _build_table(cls: type[Any], value: Any, key: str) -> Any:
    where = key or "the file"
    _check(isinstance(value, dict), value, "a table", where)
    hints = _type_hints(cls)  # type: ignore[arg-type]  # mypy 11470: a class is hashable
    known = {entry.name: entry for entry in fields(cls)}
    for name in value.keys() - known.keys():
        expected = f"the keys {', '.join(known)} in {where}"
        raise InvalidSettingError(expected, f"{name!r}", "correct the file", _join(key, name))
    for name, entry in known.items():
        if name not in value and entry.default is MISSING and entry.default_factory is MISSING:
            raise InvalidSettingError(f"{_join(key, name)} in the file", "it missing", "add it or use --set", key)
    return cls(**{name: _build(hints[name], item, _join(key, name)) for name, item in value.items()})


@cache
def _type_hints(cls: type[Any]) -> dict[str, Any]:
    """The types of a dataclass's fields: to evaluate them takes most of the time of a file with many tables."""
    return get_type_hints(cls)


def _join(table: str, key: str) -> str:
    return f"{table}.{key}" if table else key


def _check(valid: bool, value: Any, expected: str, key: str) -> None:
    if not valid:
        raise InvalidSettingError(f"{key} to be {expected}", f"{value!r}", "correct the file", key)


def _expand(text: str, key: str) -> str:
    expanded = os.path.expanduser(os.path.expandvars(text))  # noqa: PTH111 - before it is a path
    if unset := re.search(r"\$\{?(\w+)", expanded):
        raise InvalidSettingError(
            f"the environment variable {unset[1]} for {key} = {text!r}",
            "it unset",
            f"export {unset[1]}=FOLDER, or --set {key}=PATH",
            key,
        )
    return expanded
