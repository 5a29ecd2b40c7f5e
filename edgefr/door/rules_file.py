"""Read and check the file of a door: who may open it, when, on what evidence, and what opening it does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar
from zoneinfo import ZoneInfo

from edgefr.camera.identity import MAX_VIEWS, MIN_VOTES
from edgefr.door.door_file import DoorFile, RuleSettings
from edgefr.door.rules import Rule
from edgefr.door.schedule import EXAMPLE, parse_period
from edgefr.errors import InvalidArgumentError, UnavailableError
from edgefr.gallery.records import check_name
from edgefr.io.toml_dataclass import InvalidSettingError, read_toml
from edgefr.io.toml_lines import line_of

T = TypeVar("T")

MAX_BYTES = 256 << 10
MAX_RULES, MAX_ACTIONS = 100, 32
MAX_NAME = 60
"""Characters of the name of a rule or an action."""
MAX_SECONDS = 86_400.0
MAX_PULSE_S, MAX_TIMEOUT_S = 60.0, 60.0


@dataclass(frozen=True)
class DoorSettings:
    """A file whose values make sense.

    Attributes:
        file: The file.
        rules: Its rules.
        zone: The time zone of the rules.
    """

    file: DoorFile
    rules: tuple[Rule, ...]
    zone: ZoneInfo


def read_door(path: Path) -> DoorSettings:
    """Read and check the file of a door.

    Raises:
        UnavailableError: There is no such file.
        EdgefrError: It is not TOML, or a key is unknown, missing or has a value that makes no sense. The error names
            key and line.
    """
    if not path.is_file():
        raise UnavailableError(
            f"the rules of a door in {path}", "no file", "check the path; docs/door.md has an example"
        )
    if path.stat().st_size > MAX_BYTES:
        raise InvalidArgumentError(f"at most {MAX_BYTES >> 10} kB in {path}", "a larger file", "check the path")
    try:
        file = read_toml(DoorFile, path)
        zone = _zone(file.zone)
        _check_actions(file)
        rules = tuple(_rule(file, number) for number in range(len(file.rules)))
        _require(0 < len(rules) <= MAX_RULES, f"1 to {MAX_RULES} rules", f"{len(rules)}", "rules")
        names = [rule.name for rule in rules]
        for number, name in enumerate(names):
            _require(name not in names[:number], "rules of different names", f"{name!r} twice", f"rules[{number}].name")
    except InvalidSettingError as error:
        line = line_of(path.read_text(encoding="utf-8"), error.key)
        where = f"{path}, line {line}" if line else f"{path}"
        raise InvalidArgumentError(
            error.expected, f"{error.found} ({where})", f"correct {error.key or path}"
        ) from error
    return DoorSettings(file, rules, zone)


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except Exception as error:  # a name may be a folder, a path upwards or no text of a zone
        raise InvalidSettingError(
            "zone to be an IANA time zone such as Europe/Berlin that this system has", f"{name!r}", "", "zone"
        ) from error


def _check_actions(file: DoorFile) -> None:
    names = file.action_names()
    _require(len(names) <= MAX_ACTIONS, f"at most {MAX_ACTIONS} actions", f"{len(names)}", "")
    for kind in ("hook", "mqtt", "command", "gpio"):
        for name in getattr(file, kind):
            key = f"{kind}.{name}"
            _check_label(name, key)
            _require(names.count(name) == 1, "actions of different names", f"{name!r} twice", key)
    for name, command in file.command.items():
        key = f"command.{name}.run"
        _require(bool(command.run), f"a program in {key}", "none", key)
        _require(Path(command.run[0]).is_absolute(), f"an absolute path in {key}", f"{command.run[0]!r}", key)
        _require("\0" not in "".join(command.run), f"text in {key}", "a NUL character", key)
        _check_range(command.timeout_s, 0.1, MAX_TIMEOUT_S, f"command.{name}.timeout_s")
    for name, relay in file.gpio.items():
        _check_range(relay.pulse_s, 0.1, MAX_PULSE_S, f"gpio.{name}.pulse_s")
    if (shown := file.home_assistant) is not None:
        _check_label(shown.name, "home_assistant.name")
        is_id = (
            shown.id.isascii() and shown.id.replace("_", "a").replace("-", "a").isalnum() and len(shown.id) <= MAX_NAME
        )
        _require(is_id, "letters, digits, _ and - in home_assistant.id", f"{shown.id!r}", "home_assistant.id")


def _rule(file: DoorFile, number: int) -> Rule:
    settings, key = file.rules[number], f"rules[{number}]"
    _check_label(settings.name, f"{key}.name")
    _require(bool(settings.when), f"times in {key}.when, for example {EXAMPLE}", "none", f"{key}.when")
    actions = file.action_names()
    _require(bool(settings.open), f"actions in {key}.open", "none", f"{key}.open")
    for index, action in enumerate(settings.open):
        known = ", ".join(actions) or "none in the file"
        _require(action in actions, f"one of the actions ({known})", f"{action!r}", f"{key}.open[{index}]")
    _check_range(settings.frames, MIN_VOTES, MAX_VIEWS, f"{key}.frames")
    _check_range(settings.cooldown_s, 0, MAX_SECONDS, f"{key}.cooldown_s")
    if settings.similarity is not None:
        _check_range(settings.similarity, -1, 1, f"{key}.similarity")
    if settings.fmr is not None:
        _require(settings.similarity is None, "similarity or fmr", "both", f"{key}.fmr")
        _require(0 < settings.fmr < 1, f"{key}.fmr to be between 0 and 1", f"{settings.fmr:g}", f"{key}.fmr")
    if settings.two_people_within_s is not None:
        _check_range(settings.two_people_within_s, 1, MAX_SECONDS, f"{key}.two_people_within_s")
    return Rule(
        name=settings.name,
        people=_people(file, settings, key),
        periods=tuple(_parsed(parse_period, text, f"{key}.when[{i}]", EXAMPLE) for i, text in enumerate(settings.when)),
        actions=settings.open,
        similarity=settings.similarity,
        fmr=settings.fmr,
        live=settings.live,
        frames=settings.frames,
        cooldown_s=settings.cooldown_s,
        two_people_within_s=settings.two_people_within_s,
    )


def _people(file: DoorFile, settings: RuleSettings, key: str) -> frozenset[str] | None:
    """Whom a rule is for; None for everyone who is enrolled."""
    listed = settings.people or settings.groups
    _require(
        bool(listed) != settings.everyone,
        f"in {key} either everyone = true, or people or groups",
        "both" if listed else "neither",
        key,
    )
    for index, group in enumerate(settings.groups):
        known = ", ".join(file.groups) or "none in the file"
        _require(group in file.groups, f"one of the groups ({known})", f"{group!r}", f"{key}.groups[{index}]")
    return None if settings.everyone else frozenset(_names(file, settings, key))


def _names(file: DoorFile, settings: RuleSettings, key: str) -> Iterator[str]:
    lists = [
        (f"{key}.people", settings.people),
        *((f"groups.{group}", file.groups[group]) for group in settings.groups),
    ]
    for where, names in lists:
        _require(bool(names) or where == f"{key}.people", f"names in {where}", "none", where)
        for index, name in enumerate(names):
            yield _parsed(_name, name, f"{where}[{index}]", "a name of an enrolled person")


def _name(text: str) -> str:
    try:
        return check_name(text)
    except InvalidArgumentError as error:
        raise ValueError(repr(text[:MAX_NAME])) from error


def _parsed(parse: Callable[[str], T], text: str, key: str, example: str) -> T:
    try:
        return parse(text)
    except ValueError as error:
        raise InvalidSettingError(f"{key} to be {example}", f"{text!r}: {error}", "", key) from error


def _check_label(name: str, key: str) -> None:
    _require(
        len(name.strip()) > 0 and len(name) <= MAX_NAME and name.isprintable(),
        f"a name of 1 to {MAX_NAME} printable characters",
        f"{name[:MAX_NAME]!r}",
        key,
    )


def _check_range(value: float, low: float, high: float, key: str) -> None:
    _require(low <= value <= high, f"{key} to be {low:g} to {high:g}", f"{value:g}", key)  # also refuses NaN


def _require(valid: bool, expected: str, found: str, key: str) -> None:
    if not valid:
        raise InvalidSettingError(expected, found, "", key)
