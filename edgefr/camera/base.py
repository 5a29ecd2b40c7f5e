"""Frames and where they come from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import urlsplit, urlunsplit

import numpy as np

from edgefr.io.photo import MAX_PIXELS, MIN_SIDE
from edgefr.types import Image

PATIENCE = 10.0
"""Seconds after which a stream that gives nothing is lost."""


class DisconnectedError(Exception):
    """A stream that could not be opened, or gives no more frames for the reason said."""


@dataclass(frozen=True)
class Frame:
    """A picture, (H, W, 3) uint8 RGB, and when it was taken: seconds since 1970 where it is `live`, else since the
    recording's beginning."""

    image: Image
    at: float


class Source(Protocol):
    """Gives frames, anew each time it is asked. A `live` one may be behind its time and come back when it is lost."""

    name: str
    live: bool

    def frames(self) -> Iterator[Frame]:
        """Frames in order; a recording's end is the end.

        Raises:
            LostError: the stream cannot be had any more, or not yet.
            EdgefrError: there is no such source.
        """
        ...


def without_secret(url: str) -> str:
    """A URL to be shown or logged: without user, password and query."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def fits(image: np.ndarray[Any, Any] | None) -> bool:
    """Whether a decoded picture is one of a size that is worked on."""
    return image is not None and image.ndim == 3 and min(image.shape[:2]) >= MIN_SIDE and image.size <= 3 * MAX_PIXELS
