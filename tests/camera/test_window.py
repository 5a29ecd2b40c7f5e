"""The window on a virtual X server, if there is one."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator

import pytest

SHOWN_CLOSED_SHOWN = """
import sys
import cv2
import numpy as np
from edgefr.camera.window import Window
from edgefr.camera.base import Frame
from edgefr.camera.watcher import FrameResult

result = FrameResult(Frame(np.zeros((120, 160, 3), np.uint8), 0.0), (), ())
window = Window()
for _ in range(5):
    window.show(result)
print("shown", flush=True)
cv2.destroyWindow(Window.TITLE)
try:
    window.show(result)
except KeyboardInterrupt:
    print("ended")
window.close()
"""


@pytest.fixture
def display() -> Iterator[str]:
    if shutil.which("Xvfb") is None:
        pytest.skip("no Xvfb (virtual X server): apt-get install xvfb")
    read, write = os.pipe()
    server = subprocess.Popen(["Xvfb", "-displayfd", str(write)], pass_fds=[write], stderr=subprocess.DEVNULL)
    os.close(write)
    with os.fdopen(read) as output:
        number = output.readline().strip()
    yield f":{number}"
    server.kill()
    server.wait()


def test_closing_the_window_ends_the_program(display: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SHOWN_CLOSED_SHOWN],
        env=os.environ | {"DISPLAY": display},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout.split(), done.stderr) == (0, ["shown", "ended"], "")


def test_without_a_desktop_the_error_suggests_other_views() -> None:
    without = {name: value for name, value in os.environ.items() if name not in ("DISPLAY", "WAYLAND_DISPLAY")}
    done = subprocess.run(
        [sys.executable, "-c", SHOWN_CLOSED_SHOWN], env=without, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert "expected a desktop to open a window on, found none. Use --picture FILE or --web instead." in done.stderr
