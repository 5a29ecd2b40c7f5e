"""Image quality without a model."""

from __future__ import annotations

import cv2
import numpy as np

from edgefr.types import Image


def sharpness(face: Image) -> float:
    """Measure the fine detail of an aligned face.

    The Laplacian is zero on even or evenly changing grey, so a blurred or enlarged picture has a small variance
    (Pech-Pacheco et al. 2000, Diatom autofocusing in brightfield microscopy: LAPV). Its weakness is that noise and JPEG
    blocks count as detail. The logarithm turns a range of several powers of ten into one in which a limit is easy to
    state.

    Args:
        face: (112, 112, 3) uint8 RGB.

    Returns:
        log10(1 + variance of the Laplacian); 0 for a picture of one colour.
    """
    grey = cv2.cvtColor(face, cv2.COLOR_RGB2GRAY)
    return float(np.log10(1 + cv2.Laplacian(grey, cv2.CV_32F).var(dtype=np.float64)))
