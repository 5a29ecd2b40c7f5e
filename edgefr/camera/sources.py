"""Kinds of sources: cameras, video files, folders of pictures, streams and GStreamer pipelines."""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from edgefr.camera.base import READ_TIMEOUT_S, DisconnectedError, Frame, Source, has_usable_size, redact_url
from edgefr.camera.mjpeg import MjpegStream
from edgefr.errors import ImageError, InvalidArgumentError, UnavailableError, UnreadableImageError
from edgefr.io.opencv import silence_opencv
from edgefr.io.photo import read_photograph
from edgefr.recognition.batch import list_photographs
from edgefr.types import Image

FOLDER_FPS = 25.0
"""Frame rate of a folder of pictures."""
PIPELINE = " ! "
"""Links the elements of a GStreamer pipeline."""
DEVICES = Path("/dev")
CONVERSIONS = {1: cv2.COLOR_GRAY2RGB, 3: cv2.COLOR_BGR2RGB, 4: cv2.COLOR_BGRA2RGB}
"""How OpenCV turns frames with so many channels into RGB."""
MAX_STEP_BACK_S = 1.0
"""Seconds by which time stamps may go back before they count as started anew, as in films that were joined."""


def open_source(name: str, log: Callable[[str], None] = lambda _: None) -> Source:
    """Choose the kind of a source by its name.

    Args:
        name: Number or device file of a camera (0, /dev/v4l/by-id/...), path of a video file or of a folder of
            pictures, a URL (rtsp, rtsps, rtmp; http and https for MJPEG), or a GStreamer pipeline with an appsink
            ("v4l2src ! videoconvert ! appsink").
        log: Called with a sentence for each picture of a folder that cannot be read.

    Returns:
        The source, which is not opened yet.

    Raises:
        InvalidArgumentError: The name is none of these.
        UnavailableError: This machine has no such camera, or OpenCV is built without GStreamer.
    """
    expected = "the number of a camera, a video file, a folder of pictures, a URL or a GStreamer pipeline"
    if PIPELINE in name:
        return _open_pipeline(name)
    if "://" in name:
        scheme = name.split("://")[0].lower()
        if scheme in ("http", "https"):
            return MjpegStream(name)
        if scheme in ("rtsp", "rtsps", "rtmp"):
            return LiveCapture(redact_url(name), name, cv2.CAP_FFMPEG)
        raise InvalidArgumentError(expected, f"a URL of {scheme}", "use rtsp, rtsps, rtmp, http or https")
    path = Path(name)
    if path.is_dir():
        return ImageFolder(path, log)
    if path.is_file():
        return VideoFile(path)
    if name.isdecimal() or path.is_char_device() or path.is_relative_to(DEVICES):
        return _open_camera(name)
    raise InvalidArgumentError(expected, f"no file {name}", "check the name")


class VideoFile:
    """A video file that OpenCV can decode."""

    live = False

    def __init__(self, path: Path) -> None:
        self.path, self.name = path, str(path)

    def frames(self) -> Iterator[Frame]:
        # The path is absolute because FFmpeg takes what precedes a colon in a relative one for a protocol.
        with _open_capture(str(self.path.absolute()), cv2.CAP_FFMPEG) as capture:
            frames = _read_frames(capture) if capture.isOpened() else iter(())
            fps = capture.get(cv2.CAP_PROP_FPS)
            clock = FilmClock(fps if 1 <= fps <= 1000 else FOLDER_FPS)
            at = None
            for image in frames:
                at = clock.advance(round(capture.get(cv2.CAP_PROP_POS_MSEC) / 1000, 6))
                yield Frame(image, at)
        if at is None:
            raise UnreadableImageError(
                f"a video in {self.path}", "a file that OpenCV cannot decode", "convert it to MP4 (H.264)"
            )


class FilmClock:
    """Times of the frames of a film. They rise, whatever its time stamps are."""

    def __init__(self, fps: float) -> None:
        """Start before the first frame; `fps` is the frame rate where time stamps are missing or wrong."""
        self._step, self._offset = 1 / fps, 0.0
        self._at: float | None = None

    def advance(self, stamp: float) -> float:
        """The time of the next frame in seconds.

        Args:
            stamp: Time stamp of the frame in seconds. It is used if it is later than that of the frame before, as it
                is in films of any frame rate, also a variable one. Otherwise the frame follows after 1 / fps.
        """
        after = 0.0 if self._at is None else self._at + self._step
        at = stamp + self._offset if math.isfinite(stamp) else after
        if self._at is None:
            at = max(at, 0.0)
        elif at <= self._at:
            if self._at - at > MAX_STEP_BACK_S:
                self._offset = after - stamp
            at = after
        self._at = at
        return at


class ImageFolder:
    """A folder of pictures, in the order of their names. Pictures that cannot be read are reported and left out."""

    live = False

    def __init__(self, path: Path, log: Callable[[str], None]) -> None:
        self.path, self.name, self._log = path, str(path), log

    def frames(self) -> Iterator[Frame]:
        error = None
        given = 0
        for number, path in enumerate(list_photographs([str(self.path)])):
            try:
                image = read_photograph(path)
            except ImageError as reason:
                error = reason
                self._log(f"left out: {reason}")
                continue
            given += 1
            yield Frame(image, number / FOLDER_FPS)
        if error is not None and not given:
            raise error


class LiveCapture:
    """A camera of this machine, a stream that FFmpeg reads, or a GStreamer pipeline."""

    live = True

    def __init__(self, name: str, target: int | str, backend: int) -> None:
        self.name, self._target, self._backend = name, target, backend

    def frames(self) -> Iterator[Frame]:
        with _open_capture(self._target, self._backend) as capture:
            if not capture.isOpened():
                raise DisconnectedError("it cannot be opened")
            if self._backend in (cv2.CAP_ANY, cv2.CAP_V4L2):
                capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
            for image in _read_frames(capture):
                yield Frame(image, time.monotonic())
        raise DisconnectedError("it gives no more frames")


def _open_camera(name: str) -> LiveCapture:
    """A camera by number or device file. Only Linux has a device file for each number."""
    path = DEVICES / f"video{name}" if name.isdecimal() else Path(name)
    if not path.exists() and (sys.platform == "linux" or not name.isdecimal()):
        cameras = sorted(map(str, DEVICES.glob("video*")), key=lambda camera: (len(camera), camera))
        found = f"only {', '.join(cameras)}" if cameras else f"no {DEVICES}/video*"
        raise UnavailableError(f"a camera at {path}", found, "connect the camera, or name another source")
    if name.isdecimal():
        return LiveCapture(f"camera {name}", int(name), cv2.CAP_ANY)
    return LiveCapture(f"camera {name}", name, cv2.CAP_V4L2)


def _open_pipeline(pipeline: str) -> LiveCapture:
    """A GStreamer pipeline; its name does not show the text, which may hold a password."""
    if "appsink" not in pipeline:
        raise InvalidArgumentError(
            "a GStreamer pipeline that ends in appsink, which hands over the frames",
            "one without",
            "add ! videoconvert ! appsink",
        )
    if not cv2.videoio_registry.hasBackend(cv2.CAP_GSTREAMER):
        raise UnavailableError(
            "GStreamer to play a pipeline",
            f"OpenCV {cv2.__version__} without it",
            "install an OpenCV that is built with GStreamer, or name a camera or a URL instead",
        )
    return LiveCapture("GStreamer pipeline", pipeline, cv2.CAP_GSTREAMER)


@contextmanager
def _open_capture(target: int | str, backend: int) -> Iterator[Any]:
    """OpenCV's capture without its log, and with a time limit for streams and pipelines."""
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # the log names URLs with their passwords
    timeouts: list[int] = []
    if backend == cv2.CAP_GSTREAMER or (isinstance(target, str) and "://" in target):
        for option in (cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, cv2.CAP_PROP_READ_TIMEOUT_MSEC):
            timeouts += [option, int(1000 * READ_TIMEOUT_S)]
    with silence_opencv():
        capture = cv2.VideoCapture(target, backend, timeouts)
    try:
        yield capture
    finally:
        capture.release()


def _read_frames(capture: Any) -> Iterator[Image]:
    """The frames of a capture in RGB; those of an implausible size are left out. A frame that OpenCV cannot decode ends
    the capture, as its end does."""
    while True:
        try:
            good, frame = capture.read()
        except cv2.error:
            return
        if not good:
            return
        image = _to_rgb(frame)
        if image is not None and has_usable_size(image):
            yield image


def _to_rgb(frame: np.ndarray[Any, Any] | None) -> Image | None:
    """A frame in RGB. Sources may change to grey, transparency or 16 bits while they run; other kinds give None."""
    if frame is None or frame.ndim not in (2, 3) or frame.dtype not in (np.uint8, np.uint16):
        return None
    if frame.dtype == np.uint16:
        frame = (frame >> 8).astype(np.uint8)
    conversion = CONVERSIONS.get(1 if frame.ndim == 2 else frame.shape[2])
    return None if conversion is None else np.asarray(cv2.cvtColor(frame, conversion), np.uint8)
