"""MJPEG over HTTP (multipart/x-mixed-replace), with limits on time and memory."""

from __future__ import annotations

import http.client
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import IO
from urllib.parse import unquote, urlsplit

import cv2
import numpy as np

from edgefr.camera.base import READ_TIMEOUT_S, DisconnectedError, Frame, has_usable_size, redact_url, without_user
from edgefr.camera.picture_splitter import PictureSplitter
from edgefr.errors import UnreadableImageError
from edgefr.io.opencv import silence_opencv
from edgefr.io.photo import MAX_PIXELS
from edgefr.io.picture_header import read_header
from edgefr.types import Image

CHUNK_BYTES = 64 << 10
MAX_GARBAGE_BYTES = 64 << 20
"""Bytes without a picture after which a stream counts as disconnected."""


class MjpegStream:
    """An MJPEG stream at a URL of http or https."""

    live = True

    def __init__(self, url: str) -> None:
        self._url, self.name = url, redact_url(url)

    def frames(self) -> Iterator[Frame]:
        try:
            with _authenticating_opener(self._url).open(without_user(self._url), timeout=READ_TIMEOUT_S) as response:
                for image in read_pictures(response):
                    yield Frame(image, time.monotonic())
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise DisconnectedError(_reason(error)) from error
        raise DisconnectedError("it ended")


def read_pictures(stream: IO[bytes]) -> Iterator[Image]:
    """The pictures of an MJPEG stream, (H, W, 3) uint8 RGB. Whatever stands between them is left out.

    Raises:
        DisconnectedError: There was no picture for too many bytes or too long.
    """
    splitter, garbage, last = PictureSplitter(), 0, time.monotonic()
    while chunk := _read_available(stream):
        garbage += len(chunk)
        for data in splitter.feed(chunk):
            image = _decode(data)
            if image is not None:
                garbage, last = 0, time.monotonic()
                yield image
        if garbage > MAX_GARBAGE_BYTES or time.monotonic() - last > READ_TIMEOUT_S:
            raise DisconnectedError("it gives no pictures")


def _authenticating_opener(url: str) -> urllib.request.OpenerDirector:
    """An opener that sends the user and password of the URL when the camera asks for them."""
    parts = urlsplit(url)
    passwords = urllib.request.HTTPPasswordMgrWithDefaultRealm()
    passwords.add_password(None, without_user(url), unquote(parts.username or ""), unquote(parts.password or ""))
    return urllib.request.build_opener(
        urllib.request.HTTPBasicAuthHandler(passwords), urllib.request.HTTPDigestAuthHandler(passwords)
    )


def _read_available(stream: IO[bytes]) -> bytes:
    """The bytes that have arrived, at most CHUNK_BYTES; `read` would wait for all of them."""
    data: bytes = getattr(stream, "read1", stream.read)(CHUNK_BYTES)
    return data


def _decode(data: bytes) -> Image | None:
    """The picture in RGB, or None if it is damaged or of an implausible size."""
    try:
        header = read_header(data, "a frame")
        if header.width * header.height > MAX_PIXELS:
            return None
        with silence_opencv():
            bgr = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except (UnreadableImageError, cv2.error):
        return None
    return cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB) if has_usable_size(bgr) else None


def _reason(error: Exception) -> str:
    if isinstance(error, urllib.error.HTTPError):
        return f"the server answers {error.code}"
    if isinstance(error, TimeoutError):
        return f"it gave nothing for {READ_TIMEOUT_S:.0f} s"
    return f"it cannot be read ({type(error).__name__})"
