"""The settings of a short process end with it, and its child processes do not inherit them."""

from __future__ import annotations

import gc
import os
import subprocess
import sys

import pytest

from edgefr.cli.short_process import short_process

CODE = """
import os
from edgefr.cli.short_process import short_process
with short_process():
    import numpy
    print(len(os.listdir("/proc/self/task")), "OPENBLAS_NUM_THREADS" in os.environ)
"""


def test_the_collector_runs_again_afterwards() -> None:
    enabled = []

    def fail() -> None:
        with short_process():
            enabled.append(gc.isenabled())
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert enabled == [False]
    assert gc.isenabled()


@pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="threads are counted as on Linux")  # noqa: PTH112
def test_numpy_starts_no_threads_and_the_environment_is_as_before() -> None:
    environment = {name: value for name, value in os.environ.items() if name != "OPENBLAS_NUM_THREADS"}
    told = subprocess.run([sys.executable, "-c", CODE], env=environment, capture_output=True, text=True, check=True)
    assert told.stdout.split() == ["1", "False"]
