"""The orientation of a mounted camera: its frames are turned so that faces are upright.

A camera keeps its orientation, so it is not searched in every frame as in photographs. Frames are checked while their
faces have no score that turned faces never reach, and until the first such face also while there is no face.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np

from edgefr.camera.base import Frame
from edgefr.detection.base import Detections, Detector
from edgefr.detection.multiscale import resize_longest_side
from edgefr.detection.orientation import UprightDetector, find_turns
from edgefr.types import Image

DETECTION_SIDE = 640
"""Longest side in pixels of the picture that is given to the detector. It finds faces from 1/50 of that on, in a
quarter of the time that 1,280 pixels take."""
CHECK_INTERVAL_S = 1.0
"""Seconds between two checks of the orientation, in the time of the source."""
EMPTY_INTERVAL_S = 3.0
"""Seconds between two checks of frames without a face."""
ROTATIONS = (None, cv2.ROTATE_90_COUNTERCLOCKWISE, cv2.ROTATE_180, cv2.ROTATE_90_CLOCKWISE)
"""How OpenCV turns a picture by 0 to 3 quarter turns counterclockwise."""


@dataclass(frozen=True)
class DetectedFrame:
    """The faces of a frame.

    Attributes:
        frame: The frame, turned upright.
        faces: Its faces, in pixels of the turned frame.
        upright_at: The last time at which faces were upright for certain; -inf if they may be turned.
        has_turned: Whether the orientation has changed with this frame.
    """

    frame: Frame
    faces: Detections
    upright_at: float
    has_turned: bool


class FrameDetector:
    """Finds the faces in the frames of one camera, and its orientation.

    Attributes:
        turns: Quarter turns counterclockwise by which frames are turned.
        suspects_turn: Whether the last check found that faces are turned, which a second one has to confirm.
    """

    def __init__(self, detector: Detector, rotation: int | None = None) -> None:
        """Start with frames as they are.

        Args:
            detector: Finds faces.
            rotation: Degrees clockwise by which every frame is turned: 0, 90, 180 or 270. None finds the orientation
                by the faces, if the detector can do that.
        """
        is_fixed = rotation is not None or not isinstance(detector, UprightDetector)
        self._detector: Detector = detector.as_is if isinstance(detector, UprightDetector) else detector
        self._searched = None if is_fixed else detector.as_is if isinstance(detector, UprightDetector) else None
        self.turns = -(rotation or 0) // 90 % 4
        self._suspected = 0
        self._is_known = False
        self._checked_at = self._upright_at = -np.inf

    @property
    def suspects_turn(self) -> bool:
        return self._suspected != 0

    def turn(self, frame: Frame) -> Frame:
        """Turn a frame upright without a search."""
        return replace(frame, image=self._upright(frame.image))

    def detect(self, frame: Frame) -> DetectedFrame:
        """Turn a frame upright and find its faces.

        Raises:
            EdgefrError: The detector fails.
        """
        image, small, faces = self._detect(frame.image)
        has_turned = self._searched is not None and self._update(small, faces, frame.at)
        if has_turned:
            image, small, faces = self._detect(frame.image)
        upright_at = frame.at if self._searched is None else self._upright_at
        scale = image.shape[1] / small.shape[1], image.shape[0] / small.shape[0]
        return DetectedFrame(replace(frame, image=image), faces.scaled(scale), upright_at, has_turned)

    def _detect(self, image: Image) -> tuple[Image, Image, Detections]:
        """The turned image, its copy of DETECTION_SIDE pixels, and the faces in that copy."""
        image = self._upright(image)
        small = resize_longest_side(image, DETECTION_SIDE) if max(image.shape[:2]) > DETECTION_SIDE else image
        return image, small, self._detector.detect(small)

    def _upright(self, image: Image) -> Image:
        rotation = ROTATIONS[self.turns]
        return image if rotation is None else np.asarray(cv2.rotate(image, rotation), np.uint8)

    def _update(self, image: Image, faces: Detections, at: float) -> bool:
        """Check the orientation if that is due; returns whether it has changed."""
        assert self._searched is not None
        if faces.scores.max(initial=0) >= self._searched.upright_score:
            self._is_known, self._suspected, self._upright_at = True, 0, at
            return False
        if not len(faces) and self._is_known and not self._suspected:
            return False
        interval = CHECK_INTERVAL_S if len(faces) or self._suspected else EMPTY_INTERVAL_S
        if 0 <= at - self._checked_at < interval:
            return False
        self._checked_at = at
        found, before = find_turns(self._searched, image, faces), self._suspected
        has_turned = 0 < found == before
        self._suspected = 0 if has_turned else found
        if has_turned:
            self.turns = (self.turns + found) % 4
        if has_turned or (found == 0 and len(faces)):
            self._upright_at = at
        elif found:
            self._upright_at = -np.inf
        return has_turned
