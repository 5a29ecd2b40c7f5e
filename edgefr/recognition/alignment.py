"""Alignment: cut a face out so that its five landmarks lie on the template that every recogniser is trained with."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from edgefr.errors import NoFaceError
from edgefr.types import FACE_SIZE, TEMPLATE, Floats, Image


def similarity_transform(landmarks: Floats, template: Floats) -> npt.NDArray[np.float64]:
    """Fit rotation, scale and translation from landmarks to a template by least squares, without reflection.

    This is the estimate of Umeyama (1991). In the plane it has a short closed form: with points as complex numbers,
    w = a z + b is a linear regression, in which a holds rotation and scale.

    Args:
        landmarks: (N, 2) as x, y in pixels.
        template: (N, 2), likewise.

    Returns:
        The matrix for `cv2.warpAffine`, (2, 3) float64.

    Raises:
        NoFaceError: The landmarks are not finite, too large, all at one point, or mirrored.
    """
    if not np.all(np.abs(landmarks) < 1e6):  # rejects NaN and infinity, too, and values whose squares lose precision
        raise _unusable("values that are not pixel positions")
    z, w = (np.asarray(points, np.float64) @ (1, 1j) for points in (landmarks, template))
    z_centred, w_centred = z - z.mean(), w - w.mean()
    spread = np.vdot(z_centred, z_centred).real
    if spread < 1e-6:
        raise _unusable("all five at one point")
    a = np.vdot(z_centred, w_centred) / spread  # vdot conjugates its first argument
    if abs(a) < 1e-6:
        raise _unusable("a mirrored or shuffled face")
    b = w.mean() - a * z.mean()
    return np.array([[a.real, -a.imag, b.real], [a.imag, a.real, b.imag]])


def align(image: Image, landmarks: Floats) -> Image:
    """Cut an aligned face out of a picture.

    A face at least twice as large as the result is first shrunk by a whole number with averaged pixels, because the
    warp reads only four pixels for each one it writes. Smaller faces get the plain warp, as in insightface.

    Args:
        image: (H, W, 3) uint8 RGB.
        landmarks: (5, 2) as x, y in pixels of `image`, in the order of `types.TEMPLATE`.

    Returns:
        (112, 112, 3) uint8 RGB, black outside the picture.

    Raises:
        NoFaceError: The landmarks cannot be those of a face.
    """
    matrix = similarity_transform(landmarks, TEMPLATE)
    height, width = image.shape[:2]
    step = min(int(1 / np.hypot(*matrix[:, 0])), height, width)
    if step > 1:
        rows, columns = height // step, width // step
        whole = image[: rows * step, : columns * step]
        image = cv2.resize(whole, (columns, rows), interpolation=cv2.INTER_AREA)
        # The centre of pixel 0 is now where the centre of pixels 0 to step - 1 was.
        matrix = similarity_transform((landmarks - (step - 1) / 2) / step, TEMPLATE)
    face: Image = cv2.warpAffine(image, matrix, (FACE_SIZE, FACE_SIZE), flags=cv2.INTER_LINEAR)
    return face


def _unusable(found: str) -> NoFaceError:
    return NoFaceError("five landmarks of a face", found, "use a photograph with a clearer face, or another detector")
