"""Labels averaged over views depend less on the position of a face than those of one view."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("torch")

from edgefr.detection.base import Detections
from edgefr.detection.geometry import warp_detections
from edgefr.training.detector.label_averaging import tta_labels
from edgefr.types import Floats, Image

pytestmark = pytest.mark.shared


def largest(picture: Image, net: cv2.FaceDetectorYN, averaged: bool) -> Detections:
    """The largest face of one view or of the average."""
    if averaged:
        faces = tta_labels(picture, net)
    else:
        net.setInputSize(picture.shape[1::-1])
        faces = Detections.from_rows(net.detect(cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))[1])
    return faces.take([int(faces.boxes[:, 2:].prod(1).argmax())])


def test_averaged_landmarks_depend_less_on_the_position_of_the_face(yunet: Path) -> None:
    from skimage import data

    net = cv2.FaceDetectorYN.create(str(yunet), "", (320, 320), 0.6, 0.3)
    photo = np.ascontiguousarray(data.astronaut()[:300, 80:380])
    found: dict[bool, list[Floats]] = {True: [], False: []}
    for turn in range(6):
        back = cv2.getRotationMatrix2D((150, 150), -3 * turn, 1)
        view = cv2.warpAffine(photo, cv2.invertAffineTransform(back), (300, 300), borderMode=cv2.BORDER_REPLICATE)
        for averaged, landmarks in found.items():
            face = largest(np.asarray(view, np.uint8), net, averaged)
            landmarks.append(warp_detections(face, back).landmarks[0].ravel())
    spread = {averaged: float(np.std(rows, axis=0).mean()) for averaged, rows in found.items()}
    assert spread[True] < 0.9 * spread[False]
    assert np.mean(found[True], 0) == pytest.approx(np.mean(found[False], 0), abs=3)


def test_a_picture_without_a_face_has_no_labels(yunet: Path) -> None:
    net = cv2.FaceDetectorYN.create(str(yunet), "", (320, 320), 0.6, 0.3)
    assert len(tta_labels(np.full((200, 200, 3), 120, np.uint8), net)) == 0
