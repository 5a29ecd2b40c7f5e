"""Complete jobs from the command line: killed, interrupted, resumed, with workers that die."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np
import pytest

from bench.bulk import check, run
from edgefr.errors import EdgefrError
from edgefr.jobs.embedding_shards import read_rows
from edgefr.jobs.job_description import read_job
from edgefr.jobs.process_workers import run_processes
from edgefr.jobs.shard_worker import Settings
from tests.conftest import REPOSITORY
from tests.jobs.photographs import photographs

FAKE = ("--model", "fake", "--detector", "spot")


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "edgefr", "embed", *map(str, arguments), *FAKE]


def run_embed(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*arguments), cwd=REPOSITORY, capture_output=True, text=True, check=False)


@pytest.fixture
def begun(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts a job over `photographs` into `shards` with two workers, in a process group that is killed at the end."""
    running = []

    def begin(*arguments: object) -> subprocess.Popen[str]:
        words = command("photographs", "-o", "shards", "--workers", 2, "--shard", 8, *arguments)
        environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
        # A shell lets background processes and their children ignore Ctrl-C. This job must not.
        hearing = signal.signal(signal.SIGINT, signal.default_int_handler)
        process = subprocess.Popen(
            words, cwd=tmp_path, env=environment, stdout=-1, stderr=-1, text=True, start_new_session=True
        )
        signal.signal(signal.SIGINT, hearing)
        running.append(process)
        return process

    yield begin
    for process in running:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def children(process: subprocess.Popen[str]) -> list[int]:
    """The workers of a job, without the other processes of multiprocessing."""
    found = []
    for folder in Path("/proc").iterdir():
        try:
            parent = (folder / "stat").read_text().rpartition(")")[2].split()[1]
            if parent == str(process.pid) and b"spawn_main" in (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
        except (OSError, IndexError):
            continue
    return found


def test_three_kills_lose_and_duplicate_no_rows(tmp_path: Path) -> None:
    """The same as `python -m bench.bulk`, smaller."""
    found = run(240, 3, 2, 5, "fake", tmp_path)
    assert found["damaged"] > 0
    assert found["shards_whole_at_kills"][-1] > 0


def test_the_shards_hold_what_the_npz_file_holds(tmp_path: Path) -> None:
    _, bad = photographs(tmp_path / "photographs", 30)
    done = run_embed(tmp_path / "photographs", "-o", tmp_path / "shards", "--shard", 7, "--batch", 3, "--json")
    assert done.returncode == 0, done.stderr
    counts = json.loads(done.stdout)
    assert (counts["photographs"], counts["refused"], counts["shards"]) == (30, len(bad), 5)
    assert done.stderr.count("left out") == len(bad)
    check(tmp_path / "photographs", tmp_path / "shards", 30, bad)
    assert run_embed(tmp_path / "photographs", "-o", tmp_path / "x.npz").returncode == 2
    rows = [row for row in read_rows(tmp_path / "shards", read_job(tmp_path / "shards")) if row.refused is None]
    with np.load(tmp_path / "x.npz") as file:
        assert file["path"].tolist() == [row.path for row in rows]
        for column in ("embedding", "norm", "uncertainty", "box", "landmarks"):
            np.testing.assert_array_equal(file[column], np.stack([getattr(row, column) for row in rows]))


def test_the_shard_of_a_dead_worker_is_retried(tmp_path: Path, begun) -> None:
    _, bad = photographs(tmp_path / "photographs", 120)
    job = begun("--json")
    until(lambda: children(job))
    os.kill(children(job)[0], signal.SIGKILL)
    out, err = job.communicate(timeout=120)
    assert job.returncode == 0, err
    assert "edgefr: a worker died at shard" in err
    assert "SIGKILL" in err
    assert json.loads(out)["refused"] == len(bad)
    check(tmp_path / "photographs", tmp_path / "shards", 120, bad)


def test_a_job_fails_if_two_workers_die_at_the_same_shard(tmp_path: Path, begun) -> None:
    photographs(tmp_path / "photographs", 200)
    job = begun()
    killed: set[int] = set()

    def kill_all() -> bool:
        for pid in set(children(job)) - killed:
            os.kill(pid, signal.SIGKILL)
            killed.add(pid)
        return job.poll() is not None

    until(kill_all)
    out, err = job.communicate()
    assert (job.returncode, out) == (2, "")
    assert "(killed by signal 9, SIGKILL). Run the same command" in err.splitlines()[-1]
    assert "Traceback" not in err


def test_ctrl_c_leaves_complete_shards_and_the_job_can_be_resumed(tmp_path: Path, begun) -> None:
    _, bad = photographs(tmp_path / "photographs", 400)
    job = begun()
    until(lambda: len(list((tmp_path / "shards").glob("part-*"))) > 2)
    os.killpg(job.pid, signal.SIGINT)  # like a terminal, to the workers as well
    out, err = job.communicate(timeout=60)
    assert (job.returncode, out) == (130, "")
    assert "of 400 photographs. Run the same command again to resume" in err
    assert "Traceback" not in err
    assert not list((tmp_path / "shards").glob(".part-*"))
    until(lambda: not children(job))
    again = begun("--json")
    out, err = again.communicate(timeout=120)
    assert "of 400 photographs are embedded already" in err
    assert json.loads(out)["before"] >= 16
    check(tmp_path / "photographs", tmp_path / "shards", 400, bad)


def test_a_second_job_is_refused_while_the_first_is_running(tmp_path: Path, begun) -> None:
    photographs(tmp_path / "photographs", 200)
    first = begun()
    until(lambda: (tmp_path / "shards/job.json").exists())
    out, err = begun().communicate(timeout=60)
    assert out == ""
    assert "shards/lock to be free, found another run" in err
    assert first.poll() is None


def test_a_job_fails_if_all_photographs_of_a_shard_are_missing(tmp_path: Path) -> None:
    paths, bad = photographs(tmp_path / "photographs", 24)
    (tmp_path / "list").write_text("\n".join(paths))
    arguments = ("--list", tmp_path / "list", "-o", tmp_path / "shards", "--shard", 8)
    for path in paths[8:16]:
        Path(path).rename(path + ".away")
    done = run_embed(*arguments)
    assert done.returncode == 2
    assert f"expected the photographs from {paths[8]} to {paths[15]}, found none of them" in done.stderr
    for path in paths[8:15]:
        Path(path + ".away").rename(path)
    done = run_embed(*arguments, "--json")
    assert done.returncode == 0, done.stderr
    counts = json.loads(done.stdout)
    assert counts["before"] in (8, 16)
    assert counts["refused"] == len(bad | {paths[15]})


def test_invalid_arguments_are_refused(tmp_path: Path) -> None:
    photographs(tmp_path / "photographs", 2)
    for arguments, match in (
        ((tmp_path / "photographs", "-o", tmp_path / "x.npz", "--workers", 2), "Give -o FOLDER"),
        ((tmp_path / "photographs", "-o", tmp_path / "x.txt"), "ends in .npz, or a folder"),
        (("-o", tmp_path / "x.npz"), "found none. Name files"),
        ((tmp_path / "photographs", "-o", "/proc/shards"), "hoose another"),
    ):
        done = run_embed(*arguments)
        assert (done.returncode, done.stdout) == (2, "")
        assert match in done.stderr
        assert done.stderr.count("\n") == 1


def test_a_worker_that_dies_before_it_receives_a_shard_counts_as_dead(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def stillborn(_settings: Settings) -> tuple[Connection, BaseProcess]:
        ours, theirs = multiprocessing.Pipe()
        process = multiprocessing.get_context("spawn").Process(target=os._exit, args=(3,))
        process.start()
        process.join()
        theirs.close()
        return ours, process

    monkeypatch.setattr("edgefr.jobs.process_workers._start_process", stillborn)
    settings = Settings(Path(), "", Path(), None, "", "", 1)
    with pytest.raises(EdgefrError, match=r"2 workers died at shard 0 \(exit code 3\)"):
        run_processes(settings, [0], 1, lambda _count: None, lambda _text: None)
