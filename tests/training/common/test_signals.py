"""Ctrl-C and SIGTERM stop a real training after its step, and the same command resumes it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

torch = pytest.importorskip("torch")

from edgefr.training.common.loop import TrainingStoppedError  # noqa: E402
from tests.training import tiny  # noqa: E402

SETTINGS = ("distill.schedule.steps=300", "distill.schedule.batch=8", "data.workers=1", "views.variants=8")


def start(recipe: Path, runs: Path) -> subprocess.Popen[str]:
    """`edgefr train` in a process group of its own, as in a terminal."""
    settings = [part for setting in (*SETTINGS, f"runs={runs}") for part in ("--set", setting)]
    return subprocess.Popen(
        [sys.executable, "-m", "tests.training.tiny", "train", str(recipe), *settings],
        cwd=REPOSITORY,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def finish(recipe: Path, runs: Path) -> bytes:
    process = start(recipe, runs)
    _, errors = process.communicate(timeout=500)
    assert process.returncode == 0, errors
    return (runs / "tiny/fused.safetensors").read_bytes()


def lines(runs: Path) -> list[dict[str, float]]:
    log = runs / "tiny/log.jsonl"
    return [json.loads(line) for line in log.read_text().splitlines()] if log.is_file() else []


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory, faces: Path) -> Path:
    return tiny.write_recipe(tmp_path_factory.mktemp("recipe"), faces)


@pytest.fixture(scope="module")
def whole(recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The checkpoint of a run that was never stopped."""
    return finish(recipe, tmp_path_factory.mktemp("whole"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_the_state_and_the_same_command_resumes(
    recipe: Path, whole: bytes, tmp_path: Path, number: signal.Signals
) -> None:
    process = start(recipe, tmp_path)
    deadline = time.monotonic() + 300
    while not lines(tmp_path) and time.monotonic() < deadline:
        time.sleep(0.01)
    os.killpg(process.pid, number)  # the loading process receives it, too
    output, errors = process.communicate(timeout=60)
    stopped = lines(tmp_path)[-1]["step"]
    assert process.returncode == TrainingStoppedError.exit_code
    assert output == ""
    assert errors.startswith("edgefr: Stopped at step ")
    assert errors.endswith(". The same command resumes it.\n")
    step = int(errors.removeprefix("edgefr: Stopped at step ").partition(".")[0])
    assert stopped <= step < 300
    assert finish(recipe, tmp_path) == whole
    assert {"stage": "Distilling", "goes on from": step} in lines(tmp_path)
