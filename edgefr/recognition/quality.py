"""What a picture alone tells of its quality, without a model."""

from __future__ import annotations

import cv2
import numpy as np

from edgefr.types import Image


def sharpness(face: Image) -> float:
    """How much fine detail an aligned face (112, 112, 3) uint8 RGB shows: log10 of 1 + the variance of its Laplacian.

    The Laplacian answers to edges and is zero on even or evenly changing grey: a blurred or enlarged picture has
    little of it (Pech-Pacheco et al. 2000, Diatom autofocusing in brightfield microscopy: LAPV). Noise and the blocks
    of a JPEG are detail to it, too, which is its weakness. The logarithm brings a range of several powers of ten to
    one where a limit is easily told; 0 is a picture of one colour.
    """
    grey = cv2.cvtColor(face, cv2.COLOR_RGB2GRAY)
    return float(np.log10(1 + cv2.Laplacian(grey, cv2.CV_32F).var(dtype=np.float64)))
