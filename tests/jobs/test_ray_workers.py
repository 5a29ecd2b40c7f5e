"""The same job on a Ray cluster of two nodes on this machine, one of which is killed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from bench.bulk import check
from edgefr.errors import EdgefrError, install_command
from edgefr.jobs.shard_worker import Settings, Worker
from tests.conftest import REPOSITORY
from tests.jobs.photographs import photographs
from tests.jobs.test_job_description import run_embed


def test_a_cluster_that_loses_a_node_makes_every_shard_once(tmp_path: Path) -> None:
    pytest.importorskip("ray", reason=f"ray is not installed: {install_command('ray')}")
    _, bad = photographs(tmp_path / "photographs", 600)
    words = [sys.executable, "-m", "tests.jobs.two_nodes", tmp_path / "photographs", tmp_path / "shards"]
    done = subprocess.run(words, cwd=REPOSITORY, capture_output=True, text=True, check=False, timeout=300)
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["code"] == 0, found["err"]
    assert 6 <= found["shards_at_kill"] < 60
    assert "Traceback" not in found["err"]
    assert json.loads(found["out"])["refused"] == len(bad)
    check(tmp_path / "photographs", tmp_path / "shards", 600, bad)


def test_a_missing_cluster_is_reported(tmp_path: Path) -> None:
    pytest.importorskip("ray", reason=f"ray is not installed: {install_command('ray')}")
    photographs(tmp_path / "photographs", 2)
    done = run_embed(tmp_path / "photographs", "-o", tmp_path / "shards", "--ray", "127.0.0.1:1")
    assert done.returncode == 2
    assert "No Ray cluster responds at 127.0.0.1:1" in done.stderr


def test_a_machine_that_does_not_see_the_folder_reports_it(tmp_path: Path) -> None:
    settings = Settings(tmp_path, "0" * 64, Path("fake"), Path("spot"), "auto", "auto", 32)
    with pytest.raises(EdgefrError, match="a file system that all machines have at the same path"):
        Worker(settings)
