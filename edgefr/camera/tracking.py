"""Track faces from frame to frame with ByteTrack (Zhang et al. 2021, arXiv 2110.06864) of the library `trackers`."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgefr.detection.base import Detections, Face
from edgefr.errors import require_extra

TRACK_TIMEOUT_S = 1.0
"""Seconds without its face after which a track ends."""
START_SCORE = 0.6
"""Detection score from which on a face starts a track."""
HIGH_SCORE = 0.5
"""Detection score from which on a face is matched first, the `high` threshold of ByteTrack."""
MIN_IOU = 0.2
"""Overlap with the predicted position from which on a face belongs to a track."""


class Tracker:
    """Assigns the faces of successive frames to tracks."""

    def __init__(self) -> None:
        """Start without tracks; raises MissingExtraError if the library is not installed."""
        self._detections: Any = require_extra("supervision", "camera").Detections
        self._numbers = 0
        self.restart()

    def restart(self) -> None:
        """Forget all tracks; new ones have numbers that no track had before."""
        self._first = self._numbers
        # `lost_track_buffer` counts frames at 30 a second; with times, the library turns it into seconds.
        self._tracker: Any = require_extra("trackers", "camera").ByteTrackTracker(
            lost_track_buffer=round(30 * TRACK_TIMEOUT_S),
            frame_rate=30.0,
            track_activation_threshold=START_SCORE,
            high_conf_det_threshold=HIGH_SCORE,
            minimum_iou_threshold=MIN_IOU,
        )

    def update(self, faces: Detections, at: float) -> list[tuple[int, Face]]:
        """Track number and face of all faces of the next frame, at a later time in seconds, that belong to a track."""
        corners = np.hstack([faces.boxes[:, :2], faces.boxes[:, :2] + faces.boxes[:, 2:]])
        detections = self._detections(xyxy=corners, confidence=faces.scores, class_id=np.arange(len(faces)))
        tracked = self._tracker.update(detections, timestamp=at)
        pairs = zip(tracked.tracker_id.tolist(), tracked.class_id.tolist() if len(tracked) else [], strict=True)
        found = [(self._first + number, faces[index]) for number, index in pairs if number >= 0]
        self._numbers = max([self._numbers, *(number + 1 for number, _ in found)])
        return found
