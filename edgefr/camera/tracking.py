"""Faces followed from frame to frame: ByteTrack (Zhang et al. 2021, arXiv 2110.06864) from the library `trackers`."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgefr.detection.base import Detections, Face
from edgefr.errors import EdgefrError

LOST_AFTER = 1.0
"""Seconds without its face after which a track ends."""
START, SURE = 0.6, 0.5
"""Scores of a face from which on it begins a track, and of a face that counts at once."""
OVERLAP = 0.2
"""IoU with where its track expects it, from which on a face is the track's."""


class Tracker:
    """Gives the faces of successive frames the numbers of their tracks."""

    def __init__(self) -> None:
        """Begin with no track.

        Raises:
            EdgefrError: the library is not installed.
        """
        try:
            import supervision
            import trackers
        except ImportError as error:
            raise EdgefrError(
                "the library trackers, which follows faces", "it missing", "pip install 'edgefr[camera]'"
            ) from error
        self._detections: Any = supervision.Detections
        # `lost_track_buffer` counts frames at 30 a second; given times, it is turned into seconds by `frame_rate`.
        self._tracker: Any = trackers.ByteTrackTracker(
            lost_track_buffer=round(30 * LOST_AFTER),
            frame_rate=30.0,
            track_activation_threshold=START,
            high_conf_det_threshold=SURE,
            minimum_iou_threshold=OVERLAP,
        )

    def follow(self, faces: Detections, at: float) -> list[tuple[int, Face]]:
        """The faces that belong to a track, with its number, at a time in seconds that rises from call to call."""
        corners = np.hstack([faces.boxes[:, :2], faces.boxes[:, :2] + faces.boxes[:, 2:]])
        seen = self._detections(xyxy=corners, confidence=faces.scores, class_id=np.arange(len(faces)))
        found = self._tracker.update(seen, timestamp=at)
        pairs = zip(found.tracker_id.tolist(), found.class_id.tolist() if len(found) else [], strict=True)
        return [(number, faces[index]) for number, index in pairs if number >= 0]
