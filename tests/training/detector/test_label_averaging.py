"""Several looks of a teacher agree better with each other than one does, and tell of the picture's own pixels."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("torch")

from edgefr.training.detector.label_averaging import tta_labels, warp_detections
from edgefr.types import Floats, Image

pytestmark = pytest.mark.shared


def largest(picture: Image, net: cv2.FaceDetectorYN, many: bool) -> Floats:
    """The points (5, 2) of the largest face by one look or on the average."""
    if many:
        rows = tta_labels(picture, net)
    else:
        net.setInputSize(picture.shape[1::-1])
        _, rows = net.detect(cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    row: Floats = rows[(rows[:, 2] * rows[:, 3]).argmax()]
    return row


def test_averaged_points_depend_less_on_where_the_face_lies(yunet: Path) -> None:
    from skimage import data

    net = cv2.FaceDetectorYN.create(str(yunet), "", (320, 320), 0.6, 0.3)
    photo = np.ascontiguousarray(data.astronaut()[:300, 80:380])
    found: dict[bool, list[Floats]] = {True: [], False: []}
    for turn in range(6):
        back = cv2.getRotationMatrix2D((150, 150), -3 * turn, 1)
        view = cv2.warpAffine(photo, cv2.invertAffineTransform(back), (300, 300), borderMode=cv2.BORDER_REPLICATE)
        for many, rows in found.items():
            rows.append(warp_detections(largest(np.asarray(view, np.uint8), net, many)[None], back)[0, 4:14])
    spread = {many: float(np.std(rows, axis=0).mean()) for many, rows in found.items()}
    assert spread[True] < 0.9 * spread[False]
    assert np.mean(found[True], 0) == pytest.approx(np.mean(found[False], 0), abs=3)


def test_a_picture_without_a_face_has_no_finds(yunet: Path) -> None:
    net = cv2.FaceDetectorYN.create(str(yunet), "", (320, 320), 0.6, 0.3)
    assert tta_labels(np.full((200, 200, 3), 120, np.uint8), net).shape == (0, 15)
