"""The programs of `make soak` run, a few seconds each, and their table tells failures from successes."""

from __future__ import annotations

import subprocess
import sys

import pytest

from bench.soak import Part, run
from tests.conftest import REPOSITORY

SHORT = {"--kills": 3, "--postgres-kills": 3, "--requests": 150}
ELSEWHERE = {"--lite-kills": 0, "--inputs": 0, "--connections": 0, "--disk-step": 0}
"""Parts that have short tests of their own or take a minute, and Milvus Lite, which loses deletions if killed."""


def test_a_short_soak_passes_and_prints_a_table() -> None:
    pytest.importorskip("pgserver")
    options = [str(word) for option in (SHORT | ELSEWHERE).items() for word in option]
    command = [sys.executable, "-m", "bench.soak", *options]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    table = done.stdout.splitlines()
    assert len(table) == len(SHORT)
    assert all(row.endswith("passed") for row in table)


def test_a_part_that_fails_or_cannot_run_has_not_passed() -> None:
    assert run(Part("fails", 1, "soak", ("--no-such-option",))).end.startswith("FAILED")
    assert run(Part("lacks its launcher", 1, "soak", (), ("no-such-program",))).end.startswith("not run")
