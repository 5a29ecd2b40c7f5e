"""Frames of video and the sources that they come from."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import SplitResult, urlsplit

import numpy as np

from edgefr.errors import InvalidArgumentError
from edgefr.io.photo import MAX_PIXELS, MIN_SIDE
from edgefr.types import Image

READ_TIMEOUT_S = 10.0
"""Seconds without a frame after which a live source counts as stalled."""


class DisconnectedError(Exception):
    """A live source cannot be opened or stops giving frames. The message is the reason, as "it ended"."""


@dataclass(frozen=True)
class Frame:
    """One frame of a source.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        at: Time in seconds that rises from frame to frame: of `time.monotonic` for a live source, because the clock of
            the machine may be set back; since the beginning for a recording.
    """

    image: Image
    at: float


def wall_time(at: float) -> float:
    """What the clock of the machine, as it is set now, said at a time of `time.monotonic`; in seconds since 1970."""
    return time.time() - (time.monotonic() - at)


class Source(Protocol):
    """Gives frames.

    Attributes:
        name: For messages and the page, without a password.
        live: Whether frames come in real time, so that slow readers miss some, and whether a reader may reconnect.
    """

    name: str
    live: bool

    def frames(self) -> Iterator[Frame]:
        """Read the source; every call opens it again.

        Yields:
            Frames in order, until the end of a recording.

        Raises:
            DisconnectedError: A live source is not available now.
            EdgefrError: The source can never be read.
        """
        ...


def split_url(url: str, expected: str, option: str) -> SplitResult:
    """Take a URL of an option apart.

    Raises:
        InvalidArgumentError: It is malformed. It is not quoted, because it may hold a password.
    """
    try:
        parts = urlsplit(url)
        _ = parts.port  # checks the number
    except ValueError as error:
        raise InvalidArgumentError(expected, "a malformed URL", f"correct {option}") from error
    return parts


def redact_url(url: str) -> str:
    """A URL without user, password and query, for messages and logs."""
    return urlsplit(without_user(url))._replace(query="", fragment="").geturl()


def without_user(url: str) -> str:
    """A URL without user and password."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def has_usable_size(image: np.ndarray[Any, Any] | None) -> bool:
    """Whether a frame was decoded and is neither too small nor too large."""
    return image is not None and image.ndim == 3 and min(image.shape[:2]) >= MIN_SIDE and image.size <= 3 * MAX_PIXELS
