"""Commands are imported when they are run, and plain values are converted without pydantic."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer
from hypothesis import given, settings
from hypothesis import strategies as st

from edgefr.cli import COMMANDS, GROUP_COMMANDS, GROUPS
from edgefr.cli.lazy_group import Listed
from edgefr.cli.plain_values import with_plain_values
from tests.album import make_album
from tests.conftest import REPOSITORY

HEAVY = ("numpy", "cv2", "onnxruntime", "openvino", "torch", "pydantic", "rich", "tomllib", "tomli", "cryptography")
TABLES = {"": COMMANDS | GROUPS} | {f"{group} ": commands for group, commands in GROUP_COMMANDS.items()}
LISTED = {f"{prefix}{name}": listed for prefix, table in TABLES.items() for name, listed in table.items()}
PLACES = ("missing", ".", __file__, "/dev/null")


def loaded(arguments: list[str], folder: Path | None = None, **variables: str) -> tuple[int, set[str]]:
    """Exit code of a command in a process of its own, and the libraries that it has imported."""
    code = (
        "import sys, atexit\nfrom edgefr.cli import main\n"
        "atexit.register(lambda: print('\\n', *{name.partition('.')[0] for name in sys.modules}, file=sys.stderr))\n"
        f"sys.argv = {['edgefr', *arguments]}\nmain()"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("EDGEFR_")}
    environment |= {"PYTHONPATH": str(REPOSITORY), **variables}
    command = [sys.executable, "-c", code]
    told = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    return told.returncode, set(told.stderr.splitlines()[-1].split())


@pytest.mark.parametrize(
    "arguments", [["--help"], ["--version"], ["verify", "--help"], ["gallery", "enroll", "--help"]]
)
def test_a_page_of_help_imports_nothing_heavy(arguments: list[str]) -> None:
    code, modules = loaded(arguments)
    assert code == 0
    assert not modules & set(HEAVY)


def test_a_verification_imports_only_what_it_needs(tmp_path: Path) -> None:
    code, modules = loaded(["verify", "a.jpg", "b.jpg", "--face", "only", "--fmr", "1e-3"], make_album(tmp_path))
    assert code == 0
    assert {"numpy", "cv2", "onnxruntime"} <= modules
    assert not modules & {"torch", "onnx", "openvino", "pydantic", "rich", "fastapi", "cryptography", "tomllib", "ssl"}


@pytest.mark.parametrize(("name", "listed"), LISTED.items(), ids=LISTED)
def test_the_list_of_commands_says_what_their_help_says(name: str, listed: Listed) -> None:
    help_text = listed.load(name).help
    assert f"{help_text} ".replace("\n", " ").startswith(f"{listed.summary} ")


def test_a_mistyped_command_is_answered_with_a_similar_one(edgefr) -> None:
    told = edgefr("verfy", "a.jpg", "b.jpg")
    assert told.code == 2
    assert "Did you mean 'verify'?" in told.err


@cache
def converters() -> list[Any]:
    """Each distinct kind of parameter of all commands."""
    kinds = {}
    for name, listed in LISTED.items():
        if name not in GROUPS:
            for parameter in listed.load(name).params:
                kind = (parameter.type_descriptor.annotation, parameter.min, parameter.max, parameter.required)
                kinds[str((*kind, parameter.nargs))] = parameter
    return with_plain_values(list(kinds.values()))


def outcome(convert: Any, value: Any) -> Any:
    try:
        found = convert(None, value)
    except typer.BadParameter as error:
        return str(error)
    return repr(found)


@pytest.mark.skipif(not hasattr(typer.core.TyperOption, "get_runtime_param"), reason="this typer converts by click")
@settings(max_examples=200, deadline=None)
@given(
    st.none()
    | st.sampled_from(PLACES)
    | st.sampled_from(
        ("largest", "auto", "", "-", "0", "-1", "1", "2", "1e-3", "0.5", "nan", "inf", "1_000", " 5", "5.0")
    )
    | st.integers().map(str)
    | st.floats().map(str)
    | st.text(max_size=8).filter(lambda text: "\0" not in text)
)
def test_plain_values_are_converted_as_typer_does(value: str | None) -> None:
    for parameter in converters():
        several = parameter.nargs == -1
        given_value = value if not several else () if value is None else (value, value)
        by_typer = type(parameter).process_value.__get__(parameter)
        assert outcome(parameter.process_value, given_value) == outcome(by_typer, given_value)
