"""A view of every face for some time, so that a person who has left can still be enrolled."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass, replace
from time import monotonic

import cv2
import numpy as np

from edgefr.camera.identity import view_quality
from edgefr.camera.watcher import FrameResult
from edgefr.detection.base import Face
from edgefr.types import Image

MAX_VIEWS = 32
"""Number of faces that are kept."""
MAX_AGE_S = 60.0
"""Seconds for which the view of a person who has left is kept."""
RENEW_S = 2.0
"""Seconds after which a view is replaced by a worse one, because the tracker may have switched to another person."""
MARGIN = 0.6
"""Context around the box of a kept face, as a share of its longer side on each side."""
THUMBNAIL_SIDE = 96
MAX_PEOPLE = 256
"""Number of recognised people whose last thumbnail is kept, 27 kB each."""


@dataclass(frozen=True)
class View:
    """A part of a frame with a face.

    Attributes:
        image: (H, W, 3) uint8 RGB without drawn boxes.
        face: The face, in pixels of `image`.
    """

    image: Image
    face: Face

    @classmethod
    def cut(cls, image: Image, face: Face) -> View:
        """A copy of a face with some context."""
        x, y, width, height = face.box
        margin = MARGIN * max(width, height)
        left, top = max(round(x - margin), 0), max(round(y - margin), 0)
        part = image[top : max(round(y + height + margin), 0), left : max(round(x + width + margin), 0)].copy()
        landmarks = face.landmarks - np.array([left, top], np.float32)
        return cls(part, replace(face, box=(x - left, y - top, width, height), landmarks=landmarks))

    def thumbnail(self) -> Image:
        """The square around the face, (THUMBNAIL_SIDE, THUMBNAIL_SIDE, 3) uint8 RGB."""
        x, y, width, height = self.face.box
        side = max(round(1.2 * max(width, height)), 2)
        left, top = round(x + (width - side) / 2), round(y + (height - side) / 2)
        rows = np.clip(np.arange(top, top + side), 0, self.image.shape[0] - 1)
        columns = np.clip(np.arange(left, left + side), 0, self.image.shape[1] - 1)
        square = self.image[rows[:, None], columns]
        size = THUMBNAIL_SIDE, THUMBNAIL_SIDE
        return np.asarray(cv2.resize(square, size, interpolation=cv2.INTER_AREA), np.uint8)


@dataclass
class _Kept:
    view: View
    quality: float
    taken_at: float
    seen_at: float


class KeptViews:
    """A recent good view of every track. Threads may share it."""

    def __init__(self) -> None:
        self._kept: dict[int, _Kept] = {}
        self._people: OrderedDict[str, Image] = OrderedDict()
        self._lock = threading.Lock()

    def update(self, result: FrameResult) -> None:
        """Take the views of a frame that are better than those before, and forget old ones. Faces of a frame that was
        not searched may have moved, so no view is cut from it."""
        if not result.searched:
            return
        now = monotonic()
        with self._lock:
            for tracked in result.faces:
                kept = self._kept.pop(tracked.track, None)
                quality = view_quality(tracked.face)
                if kept is None or (quality > 0 and (quality >= kept.quality or now - kept.taken_at > RENEW_S)):
                    kept = _Kept(View.cut(result.frame.image, tracked.face), quality, now, now)
                    if tracked.state == "identified" and tracked.name is not None:
                        self._keep_person(tracked.name, kept.view.thumbnail())
                kept.seen_at = now
                self._kept[tracked.track] = kept  # the one seen last stands last
            for track in [track for track, kept in self._kept.items() if now - kept.seen_at > MAX_AGE_S]:
                del self._kept[track]
            for track in list(self._kept)[:-MAX_VIEWS]:
                del self._kept[track]

    def get(self, track: int) -> View | None:
        """The view of a track, or None if it is too old."""
        with self._lock:
            kept = self._kept.get(track)
        return None if kept is None or monotonic() - kept.seen_at > MAX_AGE_S else kept.view

    def person(self, name: str) -> Image | None:
        """The thumbnail of the face that was last recognised as a person, if any."""
        with self._lock:
            return self._people.get(name)

    def forget_person(self, name: str) -> None:
        """Forget the thumbnail of a person who is removed or gets another name."""
        with self._lock:
            self._people.pop(name, None)

    def tracks(self) -> list[int]:
        """Tracks with a view, the one seen last at the end."""
        with self._lock:
            return list(self._kept)

    def clear(self) -> None:
        """Forget all views."""
        with self._lock:
            self._kept.clear()

    def _keep_person(self, name: str, thumbnail: Image) -> None:
        self._people[name] = thumbnail
        self._people.move_to_end(name)
        if len(self._people) > MAX_PEOPLE:
            self._people.popitem(last=False)
