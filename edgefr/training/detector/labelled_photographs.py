"""Photographs with the faces that the teacher YuNet detects in them. The labels are kept on disk."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from edgefr.detection.base import Detections
from edgefr.errors import EdgefrError
from edgefr.io.files import atomic_write, sha256_of
from edgefr.training.common.progress import Progress
from edgefr.training.detector.label_averaging import SIZES, tta_labels
from edgefr.training.detector.teacher_predictions import unusable_teacher
from edgefr.training.recogniser.training_faces import TrainingFaces
from edgefr.types import Image

FACE_SCORE, CANDIDATE_SCORE = 0.6, 0.3
"""The teacher's scores from which a detection is a face, and from which it may be one."""

EASY_SCORE = 0.92
"""Faces with a lower score of the teacher are hard ones. Nine in ten faces of LFW reach it."""

NMS_IOU = 0.3


@dataclass(frozen=True)
class LabelledPhotographs:
    """Photographs and the faces in them.

    Attributes:
        pictures: (H, W, 3) each. They are kept decoded, because each is used many times: 190 kB for one of LFW.
        labels: The teacher's detections in each.
        scenes: Pictures without a face, (H, W, 3) each.
        scene_share: Of all training pictures, the share that shows one of them.
    """

    pictures: list[Image]
    labels: list[Detections]
    scenes: Sequence[Image] = ()
    scene_share: float = 0.0

    def __len__(self) -> int:
        return len(self.pictures)

    @cached_property
    def hard(self) -> npt.NDArray[np.int64]:
        """(N, 2): index of the photograph and of the face in it, for each hard face."""
        scores = [labels.scores for labels in self.labels]
        faces = [np.flatnonzero((score >= FACE_SCORE) & (score < EASY_SCORE)) for score in scores]
        pairs = [(index, face) for index, some in enumerate(faces) for face in some.tolist()]
        return np.array(pairs, np.int64).reshape(-1, 2)


def label_photographs(faces: TrainingFaces, teacher: Path, folder: Path, progress: Progress) -> LabelledPhotographs:
    """Read photographs and label them, unless their labels are on disk already.

    Args:
        faces: The photographs.
        teacher: File of YuNet.
        folder: Folder of labels.
        progress: Shows the work.

    Returns:
        The photographs with their labels.

    Raises:
        EdgefrError: A picture is damaged, or OpenCV cannot run the teacher.
    """
    if not teacher.is_file():
        raise EdgefrError(
            f"YuNet as teacher at {teacher}",
            "no file",
            "download face_detection_yunet_2023mar.onnx from OpenCV's model zoo and --set teacher=FILE",
        )
    with progress("Reading photographs", len(faces)) as advance:
        pictures = []
        for name in faces.names:
            pictures.append(faces.folder.read(name))
            advance(1)
    key = f"{faces.digest()} {sha256_of(teacher)} {CANDIDATE_SCORE} {NMS_IOU} {SIZES}"
    path = folder / f"{hashlib.sha256(key.encode()).hexdigest()[:16]}.npz"
    if not path.is_file():
        _write(path, _label(pictures, teacher, progress))
    return LabelledPhotographs(pictures, _read(path, len(pictures)))


def _label(pictures: list[Image], teacher: Path, progress: Progress) -> list[Detections]:
    try:
        net = cv2.FaceDetectorYN.create(str(teacher), "", (320, 320), CANDIDATE_SCORE, NMS_IOU)
        labels = []
        with progress("Labelling photographs", len(pictures)) as advance:
            for picture in pictures:
                labels.append(tta_labels(picture, net))
                advance(1)
    except cv2.error as error:
        raise unusable_teacher(teacher) from error
    return labels


def _write(path: Path, labels: list[Detections]) -> None:
    rows = Detections.concatenate(labels).to_rows()
    with atomic_write(path) as temporary:
        np.savez(temporary, counts=[len(each) for each in labels], rows=rows)


def _read(path: Path, pictures: int) -> list[Detections]:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            counts, rows = stored["counts"], stored["rows"]
        if rows.shape != (counts.sum(), 15) or len(counts) != pictures:
            raise ValueError(f"labels of {len(counts)} pictures")
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise EdgefrError(f"the labels of {pictures} photographs in {path}", str(error), "remove the file") from error
    return [Detections.from_rows(part) for part in np.split(rows, np.cumsum(counts)[:-1])]
