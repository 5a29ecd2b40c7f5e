"""Cut a face out so that its five landmarks lie on the template every recogniser was trained with."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from edgefr.errors import EdgefrError, NoFaceError
from edgefr.types import FACE_SIZE, TEMPLATE, Floats, Image


def similarity_transform(landmarks: Floats, template: Floats) -> npt.NDArray[np.float64]:
    """Rotation, scale and shift that bring `landmarks` (N, 2) nearest to `template` (N, 2); (2, 3) float64.

    Least squares without reflection, after Umeyama (1991). In the plane the closed form is short: with points
    as complex numbers, w = a z + b is a linear regression, and a carries rotation and scale.

    Raises:
        EdgefrError: the landmarks are no numbers of a picture's size, or all in one place.
    """
    if not np.all(np.abs(landmarks) < 1e6):  # neither NaN nor infinite, and small enough to be squared
        raise _unusable("values that are no pixel positions")
    z, w = (np.asarray(points, np.float64) @ (1, 1j) for points in (landmarks, template))
    z_centred, w_centred = z - z.mean(), w - w.mean()
    spread = np.vdot(z_centred, z_centred).real
    if spread < 1e-6:
        raise _unusable("all five in one place")
    a = np.vdot(z_centred, w_centred) / spread  # vdot conjugates its first argument
    if abs(a) < 1e-6:
        raise _unusable("a mirrored or shuffled face")
    b = w.mean() - a * z.mean()
    return np.array([[a.real, -a.imag, b.real], [a.imag, a.real, b.imag]])


def align(image: Image, landmarks: Floats) -> Image:
    """The face with these landmarks, (5, 2) in pixels of `image`, as (112, 112, 3) uint8 RGB; black outside.

    A face at least twice as large as the result is first shrunk by a whole number, averaging pixels, because
    the warp reads only four of them for each it writes. Smaller faces get the plain warp, as in insightface.

    Raises:
        EdgefrError: the landmarks fit no face.
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


def _unusable(found: str) -> EdgefrError:
    return NoFaceError("five landmarks of a face", found, "give a photograph with a clearer face, or another detector")
