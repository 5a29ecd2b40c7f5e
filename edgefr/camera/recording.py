"""Record the frames with their faces as MP4."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from edgefr.camera.overlay import draw_faces
from edgefr.camera.session import Listener
from edgefr.camera.watcher import FrameResult
from edgefr.errors import UnavailableError
from edgefr.io.private_files import make_folder, open_private
from edgefr.types import Image

FPS = 10.0
"""Frames a second of a recording, in the time of the source."""
MIN_FREE_BYTES, INDEX_BYTES = 4 << 20, 32
"""Free space on the disk at which a recording ends: for the next frames, and for each frame of the index that an MP4
file has at its end. FFmpeg reports no write that fails, and without its index the file could not be played."""
MAX_GAP_FRAMES = round(60 * FPS)
"""Number of times that a frame is repeated at most while the source gives no further one."""


class Mp4Recorder(Listener):
    """Records at FPS frames a second; a frame is repeated until the next one arrives."""

    def __init__(self, path: Path) -> None:
        """Choose the file; it is created with the first frame, and only its owner can read it."""
        self._path = path
        self._writer: Any = None
        self._size = (0, 0)
        self._start, self._written = 0.0, 0
        self._error: UnavailableError | None = None

    def show(self, result: FrameResult) -> None:
        """Record a frame.

        Raises:
            UnavailableError: The file cannot be written. A recording that a full disk has ended is not continued.
        """
        if self._error is not None:
            raise self._error
        picture = draw_faces(result)
        if self._writer is None:
            self._open(picture, result.frame.at)
        else:
            self._require_space()
        due = int((result.frame.at - self._start) * FPS) + 1
        if (excess := due - self._written - MAX_GAP_FRAMES) > 0:
            self._start += excess / FPS
            due -= excess
        bgr = cv2.cvtColor(_fit(picture, self._size), cv2.COLOR_RGB2BGR)
        for _ in range(due - self._written):
            self._writer.write(bgr)
        self._written = max(due, self._written)

    def close(self) -> None:
        if self._writer is not None:
            self._writer.release()
            self._writer = None

    def _require_space(self) -> None:
        """End the recording while there is space for its index, if the disk becomes full."""
        free = shutil.disk_usage(self._path.absolute().parent).free
        if free < MIN_FREE_BYTES + INDEX_BYTES * self._written:
            self.close()
            self._error = UnavailableError(
                f"free space to record into {self._path}",
                f"{free / 1e6:.1f} MB",
                f"free some and start again; the recording ends after {self._written / FPS:.0f} s",
            )
            raise self._error

    def _open(self, picture: Image, at: float) -> None:
        self._size = (picture.shape[1] & ~1, picture.shape[0] & ~1)  # MPEG-4 requires even sides
        self._start = at
        path = self._path.absolute()  # FFmpeg takes what precedes a colon in a relative path for a protocol
        fix = "name an .mp4 file in a folder that you can write to"
        try:
            make_folder(path.parent, private=True)
            os.close(open_private(path, os.O_WRONLY))
        except OSError as error:
            raise UnavailableError(f"to record into {self._path}", str(error.strerror), fix) from error
        self._require_space()
        fourcc = cv2.VideoWriter.fourcc(*"mp4v")
        self._writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, fourcc, FPS, self._size)
        if not self._writer.isOpened():
            raise UnavailableError(f"to record into {self._path}", "that OpenCV cannot write it", fix)


def _fit(picture: Image, size: tuple[int, int]) -> Image:
    """Scale to `size` (width, height) with a black margin: a source may change its shape, a recording cannot."""
    width, height = size
    scale = min(width / picture.shape[1], height / picture.shape[0])
    if scale != 1:
        new = max(1, round(scale * picture.shape[1])), max(1, round(scale * picture.shape[0]))
        picture = np.asarray(cv2.resize(picture, new, interpolation=cv2.INTER_AREA), np.uint8)
    picture = picture[:height, :width]
    below, right = height - picture.shape[0], width - picture.shape[1]
    return np.asarray(cv2.copyMakeBorder(picture, 0, below, 0, right, cv2.BORDER_CONSTANT), np.uint8)
