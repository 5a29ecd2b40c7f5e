"""Choose the frames that the detector searches: while nothing changes, a few a second are enough.

The detector takes most of the time of a frame. A scene is steady if nobody is there, or if its faces stay on their
tracks, hardly move, and are decided. Then a frame is searched only every STEADY_INTERVAL_S. The first change that is
found in one of them makes the scene unsteady, and each frame is searched until it is steady again.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

STEADY_INTERVAL_S = 0.09
"""Seconds from one searched frame of a steady scene to the next: every third frame of 30 a second, and each of 10.
This is less than the time between two embeddings of a face, so that a newcomer is named a frame or two later."""
SETTLED = 3
"""Number of searched frames in succession without a change after which a scene is steady."""
LARGEST_MOVE = 0.15
"""Distance that a face of a steady scene may move from one searched frame to the next, as a share of its width. The
tracker follows a face over at least four times that distance."""

Box = tuple[float, float, float, float]


class Pace:
    """Knows which frames of one camera must be searched."""

    def __init__(self) -> None:
        """Start with a scene that is not steady."""
        self._boxes: Mapping[int, Box] = {}
        self._unchanged = 0
        self._searched_at = -math.inf

    def is_due(self, at: float) -> bool:
        """Whether to search the frame of a time in seconds, as in `Frame`."""
        return self._unchanged < SETTLED or not 0 <= at - self._searched_at < STEADY_INTERVAL_S

    def note(self, at: float, boxes: Mapping[int, Box], waits: bool) -> None:
        """Note what a search has found.

        Args:
            at: Time of the frame in seconds.
            boxes: Number of a track -> box of its face: x, y, width and height in pixels.
            waits: Whether something is undecided, so that the next frames are needed.
        """
        before = self._boxes
        changed = waits or boxes.keys() != before.keys() or any(_moves(before[key], boxes[key]) for key in boxes)
        self._unchanged = 0 if changed else self._unchanged + 1
        self._boxes, self._searched_at = boxes, at


def _moves(before: Box, now: Box) -> bool:
    """Whether an edge of a box moved farther than a face of a steady scene does."""
    edges = [(x, y, x + width, y + height) for x, y, width, height in (before, now)]
    farthest: float = max(abs(a - b) for a, b in zip(*edges, strict=True))
    return farthest > LARGEST_MOVE * before[2]
