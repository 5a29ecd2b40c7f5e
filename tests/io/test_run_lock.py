"""Two runs do not make the same thing at once."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from edgefr.errors import EdgefrError
from edgefr.io.run_lock import run_lock


def test_the_second_run_is_refused_until_the_first_is_done(tmp_path: Path) -> None:
    lock = tmp_path / "states/lock"
    with run_lock(lock):
        with pytest.raises(EdgefrError, match=r"states/lock to be free, .*run the same command again"), run_lock(lock):
            pass
        with run_lock(tmp_path / "other"):
            pass
    with run_lock(lock):
        pass


def test_a_worker_that_outlives_the_run_does_not_keep_the_lock(tmp_path: Path) -> None:
    with run_lock(tmp_path / "lock"):
        worker = os.fork()
        if not worker:
            signal.pause()
    try:
        with run_lock(tmp_path / "lock"):
            pass
    finally:
        os.kill(worker, signal.SIGKILL)
        os.waitpid(worker, 0)


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "states").write_text("a file")
    with (
        pytest.raises(EdgefrError, match=r"states/lock cannot be written .*--set runs="),
        run_lock(tmp_path / "states/lock"),
    ):
        pass
