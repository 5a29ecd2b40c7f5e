"""The pose of a head, estimated from its landmarks."""

from __future__ import annotations

import numpy as np

from edgefr.detection.base import Face


def pose(face: Face) -> tuple[float, float]:
    """Estimate the pose of a head from the five landmarks.

    Args:
        face: A face with landmarks: left eye, right eye, nose, corners of the mouth.

    Returns:
        Yaw: distance of the nose from the middle of the eyes along their line, in eye distances. Pitch: position of
        the nose between the eyes (0) and the mouth (1).
    """
    left, right, nose, *mouth = face.landmarks.astype(np.float64)
    middle, across = (left + right) / 2, right - left
    distance = max(float(np.linalg.norm(across)), 1e-6)
    down = np.array([-across[1], across[0]]) / distance
    depth = float((np.mean(mouth, axis=0) - middle) @ down)
    return float((nose - middle) @ across) / distance**2, float((nose - middle) @ down) / (depth or 1e-6)
