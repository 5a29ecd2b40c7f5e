"""Where frames come from: a camera, a video file, a folder of pictures, an RTSP or MJPEG stream."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2

from edgefr.camera.base import PATIENCE, DisconnectedError, Frame, Source, fits, without_secret
from edgefr.errors import EdgefrError, ImageError
from edgefr.io.opencv import silence_opencv
from edgefr.io.photo import read_photograph
from edgefr.recognition.batch import list_photographs
from edgefr.types import Image

FOLDER_RATE = 25.0
"""Pictures of a folder stand for so many frames a second."""


def open_source(text: str) -> Source:
    """What `text` names: the number of a camera, a URL (rtsp, rtmp, http of MJPEG), a folder or a video file.

    Raises:
        EdgefrError: it is none of them.
    """
    if text.isdecimal():
        return Camera(int(text))
    if "://" in text:
        from edgefr.camera.mjpeg import Mjpeg

        scheme = text.split(":", 1)[0].lower()
        if scheme in ("http", "https"):
            return Mjpeg(text)
        if scheme in ("rtsp", "rtsps", "rtmp"):
            return Stream(text)
        raise EdgefrError("a URL of rtsp, rtmp, http or https", scheme, "give one of these")
    path = Path(text)
    if path.is_dir():
        return Folder(path)
    if path.is_file():
        return Video(path)
    raise EdgefrError(
        "a camera's number, a video file, a folder of pictures or a URL", f"no file {text}", "check the name"
    )


class Video:
    """A video file, as OpenCV reads it."""

    live = False

    def __init__(self, path: Path) -> None:
        self.path, self.name = path, str(path)

    def frames(self) -> Iterator[Frame]:
        with _Capture(str(self.path), {}) as capture:
            if not capture.isOpened():
                raise EdgefrError(
                    f"a video in {self.path}", "nothing that OpenCV can decode", "convert it to MP4 (H.264)"
                )
            rate = capture.get(cv2.CAP_PROP_FPS)
            rate = rate if 1 <= rate <= 1000 else FOLDER_RATE
            for number, image in enumerate(_grabbed(capture)):
                yield Frame(image, number / rate)


class Folder:
    """A folder of pictures in the order of their names, 25 a second. What cannot be read is left out."""

    live = False

    def __init__(self, path: Path) -> None:
        self.path, self.name = path, str(path)

    def frames(self) -> Iterator[Frame]:
        for number, path in enumerate(list_photographs([str(self.path)])):
            try:
                image = read_photograph(path)
            except ImageError:
                continue
            yield Frame(image, number / FOLDER_RATE)


class Camera:
    """A camera of this machine by its number."""

    live = True

    def __init__(self, index: int) -> None:
        self.index, self.name = index, f"camera {index}"

    def frames(self) -> Iterator[Frame]:
        with _Capture(self.index, {}) as capture:
            if not capture.isOpened():
                raise DisconnectedError("it cannot be opened")
            capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
            for image in _grabbed(capture):
                yield Frame(image, time.time())
        raise DisconnectedError("it gives no more frames")


class Stream:
    """An RTSP or RTMP stream, read by FFmpeg within OpenCV."""

    live = True

    def __init__(self, url: str) -> None:
        self._url, self.name = url, without_secret(url)

    def frames(self) -> Iterator[Frame]:
        wait = int(1000 * PATIENCE)
        limits = {cv2.CAP_PROP_OPEN_TIMEOUT_MSEC: wait, cv2.CAP_PROP_READ_TIMEOUT_MSEC: wait}
        with _Capture(self._url, limits) as capture:
            if not capture.isOpened():
                raise DisconnectedError("it cannot be opened")
            for image in _grabbed(capture):
                yield Frame(image, time.time())
        raise DisconnectedError("it gives no more frames")


class _Capture:
    """OpenCV's capture, closed when it is done with; its complaints are not ours."""

    def __init__(self, what: str | int, limits: dict[int, int]) -> None:
        os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # FFmpeg's, which names URLs with their passwords
        backend = cv2.CAP_ANY if isinstance(what, int) else cv2.CAP_FFMPEG
        with silence_opencv():
            self._capture = cv2.VideoCapture(what, backend, [number for pair in limits.items() for number in pair])

    def __enter__(self) -> Any:
        return self._capture

    def __exit__(self, *_: object) -> None:
        self._capture.release()


def _grabbed(capture: Any) -> Iterator[Image]:
    """Frames in RGB until there are no more; those of a size that no camera has are left out."""
    while True:
        good, bgr = capture.read()
        if not good:
            return
        if fits(bgr):
            yield cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)
