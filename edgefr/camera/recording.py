"""The pictures that were asked for: what is seen now as one file that changes, and a recording."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from time import monotonic
from typing import Any

import cv2
import numpy as np

from edgefr.camera.overlay import draw_faces, encode_jpeg
from edgefr.camera.watcher import FrameResult
from edgefr.errors import EdgefrError
from edgefr.io.files import atomic_write
from edgefr.types import Image

RATE = 10.0
"""Pictures a second of a recording."""
STILLS = 2.0
"""Writings a second, at most, of a picture that changes: each goes through to the disk."""


FONTS = "/usr/share/fonts"


class Picture:
    """One JPEG that always holds the newest scene; a reader never finds half of one."""

    def __init__(self, path: Path) -> None:
        self._path, self._last = path, -1.0

    def show(self, scene: FrameResult) -> None:
        """Write the scene, unless the last one was a moment ago.

        Raises:
            EdgefrError: it cannot be written.
        """
        if monotonic() - self._last < 1 / STILLS:
            return
        self._last = monotonic()
        with atomic_write(self._path) as temporary:
            temporary.write_bytes(encode_jpeg(draw_faces(scene)))

    def close(self) -> None: ...


class Window:
    """A window on the desktop; the key q ends, and so does closing it."""

    TITLE = "edgefr"

    def __init__(self) -> None:
        """Raises EdgefrError where this OpenCV or machine has no windows."""
        # OpenCV 5 names a folder of fonts that its wheels do not have, of which Qt complains for every label.
        if not Path(os.environ.get("QT_QPA_FONTDIR", FONTS)).is_dir():
            os.environ["QT_QPA_FONTDIR"] = FONTS
        # In a process of its own: where there is no desktop Qt ends it.
        probe = "import cv2; cv2.namedWindow('edgefr')"
        if subprocess.run([sys.executable, "-c", probe], capture_output=True, check=False).returncode != 0:  # noqa: S603
            raise EdgefrError("a desktop to open a window on", "none", "use --picture FILE or --web instead")
        self._open = False

    def show(self, scene: FrameResult) -> None:
        """Raises KeyboardInterrupt when q is pressed or the window was closed."""
        if self._open and not self._is_visible():
            raise KeyboardInterrupt  # else imshow opens another
        cv2.imshow(self.TITLE, cv2.cvtColor(draw_faces(scene), cv2.COLOR_RGB2BGR))
        self._open = True
        pressed = cv2.waitKey(1) & 0xFF
        if pressed == ord("q"):
            raise KeyboardInterrupt

    def _is_visible(self) -> bool:
        try:
            return cv2.getWindowProperty(self.TITLE, cv2.WND_PROP_VISIBLE) >= 1
        except cv2.error:  # Qt has ended with its last window
            return False

    def close(self) -> None:
        cv2.destroyAllWindows()


class Recording:
    """An MP4 of what was seen, RATE pictures a second of the source's time; a picture that comes late stands longer."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._writer: Any = None
        self._size = (0, 0)
        self._begun, self._written = 0.0, 0

    def show(self, scene: FrameResult) -> None:
        """Raises EdgefrError where it cannot be written."""
        picture = draw_faces(scene)
        if self._writer is None:
            self._open(picture, scene.frame.at)
        due = int((scene.frame.at - self._begun) * RATE) + 1
        if due - self._written > 60 * RATE:  # the source was away: a minute of one picture is enough
            self._begun += (due - self._written) / RATE - 60
            due = self._written + int(60 * RATE)
        fitted = cv2.cvtColor(_fitted(picture, self._size), cv2.COLOR_RGB2BGR)
        for _ in range(due - self._written):
            self._writer.write(fitted)
        self._written = max(due, self._written)

    def close(self) -> None:
        if self._writer is not None:
            self._writer.release()

    def _open(self, picture: Image, at: float) -> None:
        self._size = (picture.shape[1] & ~1, picture.shape[0] & ~1)  # MPEG-4 wants even sides
        self._begun = at
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._path.touch(mode=0o600)
        fourcc = cv2.VideoWriter.fourcc(*"mp4v")
        self._writer = cv2.VideoWriter(str(self._path), cv2.CAP_FFMPEG, fourcc, RATE, self._size)
        if not self._writer.isOpened():
            raise EdgefrError(f"to record into {self._path}", "that OpenCV cannot", "name an .mp4 file")


def _fitted(picture: Image, size: tuple[int, int]) -> Image:
    """`picture` within `size` (width, height), black around it: a source may change its shape, a recording may not."""
    width, height = size
    scale = min(width / picture.shape[1], height / picture.shape[0])
    if scale != 1:
        new = max(1, round(scale * picture.shape[1])), max(1, round(scale * picture.shape[0]))
        picture = np.asarray(cv2.resize(picture, new, interpolation=cv2.INTER_AREA), np.uint8)
    picture = picture[:height, :width]
    below, right = height - picture.shape[0], width - picture.shape[1]
    return np.asarray(cv2.copyMakeBorder(picture, 0, below, 0, right, cv2.BORDER_CONSTANT), np.uint8)
