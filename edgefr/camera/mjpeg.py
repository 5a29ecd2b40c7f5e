"""A stream of JPEGs over HTTP (multipart/x-mixed-replace), which nothing in it may make grow or hang.

A reader of our own, for FFmpeg's believes the length that a part claims. Each picture is found by the markers that
every JPEG begins and ends with, whatever the headers around it say: cameras lie there.
"""

from __future__ import annotations

import http.client
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import IO
from urllib.parse import unquote, urlsplit, urlunsplit

import cv2
import numpy as np

from edgefr.camera.base import PATIENCE, DisconnectedError, Frame, fits, without_secret
from edgefr.errors import EdgefrError
from edgefr.io.opencv import silence_opencv
from edgefr.io.photo import MAX_PIXELS
from edgefr.io.picture_header import read_header
from edgefr.types import Image

BEGIN, END = b"\xff\xd8\xff", b"\xff\xd9"
LARGEST = 16 << 20
"""Bytes of one picture."""
CHUNK = 64 << 10
MOST_GARBAGE = 64 << 20
"""Bytes without a picture after which a stream is lost."""


class Mjpeg:
    """The pictures of a URL, http or https."""

    live = True

    def __init__(self, url: str) -> None:
        self._url, self.name = url, without_secret(url)

    def frames(self) -> Iterator[Frame]:
        try:
            with _opener(self._url).open(_without_user(self._url), timeout=PATIENCE) as answer:
                for image in pictures(answer):
                    yield Frame(image, time.time())
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise DisconnectedError(_reason(error)) from error
        raise DisconnectedError("it ended")


def pictures(stream: IO[bytes]) -> Iterator[Image]:
    """The pictures in what `stream` gives, (H, W, 3) uint8 RGB; garbage between them is left out.

    Raises:
        LostError: there was too much of it, or nothing for too long.
    """
    held, garbage, since = bytearray(), 0, time.monotonic()
    while chunk := _some(stream):
        held += chunk
        garbage += len(chunk)
        for data in _taken(held):
            image = _decoded(data)
            if image is not None:
                garbage, since = 0, time.monotonic()
                yield image
        if garbage > MOST_GARBAGE or time.monotonic() - since > PATIENCE:
            raise DisconnectedError("it gives no pictures")


def _opener(url: str) -> urllib.request.OpenerDirector:
    """Answers a camera that asks who is there with the user and password of the URL."""
    parts = urlsplit(url)
    known = urllib.request.HTTPPasswordMgrWithDefaultRealm()
    known.add_password(None, _without_user(url), unquote(parts.username or ""), unquote(parts.password or ""))
    basic, digest = urllib.request.HTTPBasicAuthHandler(known), urllib.request.HTTPDigestAuthHandler(known)
    return urllib.request.build_opener(basic, digest)


def _without_user(url: str) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def _some(stream: IO[bytes]) -> bytes:
    """What there is by now, at most CHUNK: `read` would wait until there is that much."""
    read1 = getattr(stream, "read1", stream.read)
    data: bytes = read1(CHUNK)
    return data


def _taken(held: bytearray) -> Iterator[bytes]:
    """Take every whole picture out of `held`; what cannot be the beginning of one goes, too."""
    while True:
        start = held.find(BEGIN)
        if start < 0:
            del held[: -len(BEGIN) + 1]
            return
        del held[:start]
        end = held.find(END, len(BEGIN))
        if end < 0:
            if len(held) > LARGEST:
                held.clear()
            return
        yield bytes(held[: end + len(END)])
        del held[: end + len(END)]


def _decoded(data: bytes) -> Image | None:
    try:
        header = read_header(data, "a frame")
        if header.width * header.height > MAX_PIXELS:
            return None
        with silence_opencv():
            bgr = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except (EdgefrError, cv2.error):
        return None
    return cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB) if fits(bgr) else None


def _reason(error: Exception) -> str:
    if isinstance(error, urllib.error.HTTPError):
        return f"the server answers {error.code}"
    if isinstance(error, TimeoutError):
        return f"it gave nothing for {PATIENCE:.0f} s"
    return f"it cannot be read ({type(error).__name__})"
