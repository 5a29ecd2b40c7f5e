"""The file of a door is read, and every mistake is named with its key and line."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgefr.door.rules_file import read_door
from edgefr.door.schedule import parse_period
from edgefr.errors import EdgefrError, InvalidArgumentError, UnavailableError

GOOD = """\
zone = "Europe/Berlin"

[groups]
staff = ["Ada", "Grace"]

[command.strike]
run = ["/bin/true", "open"]

[[rules]]
name = "staff by day"
groups = ["staff"]
people = ["Eve"]
when = ["Mon-Fri 07:00-19:00", "Sat 22:00-02:00"]
fmr = 1e-5
open = ["strike"]

[[rules]]
name = "fire drill"
everyone = true
when = ["always"]
live = false
frames = 2
cooldown_s = 60
two_people_within_s = 10
open = ["strike"]
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "door.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_rules_are_read(tmp_path: Path) -> None:
    settings = read_door(write(tmp_path, GOOD))
    day, drill = settings.rules
    assert day.people == frozenset({"Ada", "Grace", "Eve"})
    assert day.periods == (parse_period("Mon-Fri 07:00-19:00"), parse_period("Sat 22:00-02:00"))
    assert (day.fmr, day.live, day.frames, day.cooldown_s, day.two_people_within_s) == (1e-5, True, 3, 5.0, None)
    assert drill.people is None
    assert (drill.live, drill.frames, drill.cooldown_s, drill.two_people_within_s) == (False, 2, 60.0, 10.0)
    assert str(settings.zone) == "Europe/Berlin"


def test_a_name_is_the_same_in_every_form_of_unicode(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD.replace('"Eve"', '"Zoe\\u0308"'))
    assert "Zo\u00eb" in (read_door(path).rules[0].people or ())


MISTAKES = {
    # what is replaced, by what: line and part of the sentence
    "zone": ('"Europe/Berlin"', '"Europe/Atlantis"', 1, "an IANA time zone"),
    "zone upwards": ('"Europe/Berlin"', '"../../etc/passwd"', 1, "an IANA time zone"),
    "type": ('["Ada", "Grace"]', '"Ada"', 4, "groups.staff to be a list"),
    "empty group": ('["Ada", "Grace"]', "[]", 4, "names in groups.staff"),
    "name": ('"Grace"]', '"\\u0000"]', 4, "a name of an enrolled person"),
    "relative program": ("/bin/true", "true", 7, "an absolute path in command.strike.run"),
    "no program": ('["/bin/true", "open"]', "[]", 7, "a program in command.strike.run"),
    "unknown key": ("groups = [", "group = [", 11, "'group'"),
    "unknown group": ('groups = ["staff"]', 'groups = ["stuff"]', 11, "one of the groups (staff), found 'stuff'"),
    "period": ("Sat 22:00-02:00", "Sat 22:00-2:00", 13, "rules[0].when[1]"),
    "rate": ("fmr = 1e-5", "fmr = 0", 14, "rules[0].fmr"),
    "two thresholds": ("fmr = 1e-5", "fmr = 1e-5\nsimilarity = 0.5", 14, "similarity or fmr, found both"),
    "unknown action": ('open = ["strike"]\n\n', 'open = ["relay"]\n\n', 15, "(strike), found 'relay'"),
    "same name": ('"fire drill"', '"staff by day"', 18, "rules of different names"),
    "nobody": ("everyone = true\n", "", 17, "either everyone = true, or people or groups, found neither"),
    "both": ("everyone = true", 'everyone = true\npeople = ["Ada"]', 17, "found both"),
    "no times": ('when = ["always"]', "when = []", 20, "times in rules[1].when"),
    "frames": ("frames = 2", "frames = 1", 22, "rules[1].frames to be 2 to 6, found 1"),
    "not a number": ("cooldown_s = 60", "cooldown_s = nan", 23, "rules[1].cooldown_s"),
    "no key": ("cooldown_s = 60", "cooldown = 60", 23, "found 'cooldown'"),
    "missing": ('when = ["always"]\n', "", 17, "rules[1].when in the file"),
    "no rules": (GOOD[GOOD.index("[[rules]]") :], "rules = []", 6, "rules"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_named_with_its_line(mistake: str, tmp_path: Path) -> None:
    old, new, line, part = MISTAKES[mistake]
    path = write(tmp_path, GOOD.replace(old, new, 1))
    with pytest.raises(InvalidArgumentError) as refused:
        read_door(path)
    assert part in str(refused.value)
    if mistake != "no rules":
        assert f"({path}, line {line})" in str(refused.value)


def test_a_file_that_is_missing_huge_or_no_toml_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match="no file"):
        read_door(tmp_path / "door.toml")
    with pytest.raises(EdgefrError, match=r"at line 2, column 1"):
        read_door(write(tmp_path, "zone = 'x'\n]"))
    with pytest.raises(InvalidArgumentError, match="a larger file"):
        read_door(write(tmp_path, "#" * 300_000))


LINES = GOOD.splitlines()


@given(st.lists(st.tuples(st.integers(0, len(LINES) - 1), st.text(max_size=12)), min_size=1, max_size=3), st.booleans())
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_is_in_the_file_it_is_read_or_refused(
    tmp_path: Path, changes: list[tuple[int, str]], after_equals: bool
) -> None:
    lines = list(LINES)
    for number, text in changes:
        start = lines[number].partition("=")[0] + "= " if after_equals and "=" in lines[number] else ""
        lines[number] = start + text
    try:
        found = read_door(write(tmp_path, "\n".join(lines).encode("utf-8", "replace").decode()))
    except EdgefrError:
        return
    assert found.rules
