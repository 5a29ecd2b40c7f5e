"""The locked requirements of the tests belong to pyproject.toml and constraints.txt."""

from __future__ import annotations

import re
import sys

import pytest

from tests.conftest import REPOSITORY

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

LOCKED = re.compile(r"([a-z0-9.-]+)==(\S+) --hash=sha256:[0-9a-f]{64}")
EXTRAS = ("cpu", "train", "demo", "dev")
WITHOUT_HASH = {"torch"}
OTHER_PYTHONS = {"tomli"}


def locked() -> dict[str, str]:
    lines = (REPOSITORY / "requirements-test.txt").read_text().splitlines()
    found = [LOCKED.fullmatch(line) for line in lines if not line.startswith("#")]
    assert all(found), "a line without a hash"
    return {match[1]: match[2] for match in found if match}


def name_of(requirement: str) -> str:
    match = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert match
    return match[0].lower().replace("_", "-")


def test_every_direct_requirement_is_locked() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    lines = [*project["dependencies"], *(line for extra in EXTRAS for line in project["optional-dependencies"][extra])]
    assert {name_of(line) for line in lines} - locked().keys() == WITHOUT_HASH | OTHER_PYTHONS, "run `make lock`"


def test_locked_versions_are_those_of_the_constraints() -> None:
    text = (REPOSITORY / "constraints.txt").read_text()
    pinned = {name_of(name): version for name, version in re.findall(r"(?m)^([A-Za-z0-9._-]+)==([^;\s]+)", text)}
    versions = locked()
    assert pinned.keys() - versions.keys() == WITHOUT_HASH
    assert {name: versions.get(name, version) for name, version in pinned.items()} == pinned, "run `make lock`"


@pytest.mark.parametrize("name", ["torch", "triton", "nvidia-cudnn-cu13"])
def test_packages_whose_files_differ_between_platforms_are_not_locked(name: str) -> None:
    assert name not in locked()
