"""Keys are found on their lines, whatever else stands in the file."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgefr.io.toml_lines import line_of

TEXT = '''zone = "x"   # a comment with = and [brackets]

[groups]
"staff" = [
  "[rules]",
  "when = 1",
]
note = """
[[rules]]
when = 2
"""

[[rules]]   # the first one
name = "a"
when = ["b"]
[[rules]]
name = "c"
[rules.more]
deep = 1
[a . "b"]
c.d = 2
'''
WHERE = {
    "zone": 1,
    "groups": 3,
    "groups.staff": 4,
    "groups.staff[1]": 4,
    "groups.note": 8,
    "rules[0]": 13,
    "rules[0].when[0]": 15,
    "rules[0].missing": 13,
    "rules[1]": 16,
    "rules[1].name": 17,
    "rules[1].more.deep": 19,
    "a.b.c.d": 21,
    "nowhere": None,
    "": None,
}


@pytest.mark.parametrize("key", WHERE)
def test_a_key_is_on_its_line(key: str) -> None:
    assert line_of(TEXT, key) == WHERE[key]


@given(
    st.lists(st.lists(st.sampled_from(["name", "when", "open"]), unique=True, max_size=3), max_size=5),
    st.integers(0, 3),
)
def test_every_key_of_every_table_is_found(tables: list[list[str]], comments: int) -> None:
    lines, wanted = [], {}
    for number, keys in enumerate(tables):
        lines += ["# [[rules]]"] * comments + ["[[rules]]"]
        wanted[f"rules[{number}]"] = len(lines)
        for key in keys:
            lines.append(f'{key} = "[[rules]]"')
            wanted[f"rules[{number}].{key}"] = len(lines)
    assert {key: line_of("\n".join(lines), key) for key in wanted} == wanted


@given(st.text(max_size=200), st.text(max_size=20))
def test_no_text_is_too_strange(text: str, key: str) -> None:
    found = line_of(text, key)
    assert found is None or 1 <= found <= text.count("\n") + 1
