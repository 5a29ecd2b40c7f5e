"""Photographs with the faces that a teacher finds in them: YuNet looks at each, and what it says is kept."""

from __future__ import annotations

import hashlib
import zipfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from edgefr.errors import EdgefrError
from edgefr.io.files import atomic_write, sha256_of
from edgefr.training.common.progress import Progress
from edgefr.training.detector.label_averaging import ROW, SIZES, looks_at
from edgefr.training.recogniser.training_faces import TrainingFaces
from edgefr.types import Floats, Image

CERTAIN, DOUBTFUL = 0.6, 0.3
"""The teacher's scores from which a find is a face, and from which it may be one."""

EASY = 0.92
"""The teacher's score below which a face is a hard one; nine in ten of LFW's reach it."""

OVERLAP = 0.3


@dataclass(frozen=True)
class Photographs:
    """Pictures (H, W, 3) and the teacher's finds in each, (F, 15) in OpenCV's order: box, five points, score.

    Pictures are held decoded, for each is shown many times: LFW's take 190 kB each.
    """

    pictures: list[Image]
    finds: list[Floats]

    def __len__(self) -> int:
        return len(self.pictures)

    @cached_property
    def hard(self) -> npt.NDArray[np.int64]:
        """(N, 2): photograph and place among its finds of each face that is one, though a hard one."""
        scores = [rows[:, 14] for rows in self.finds]
        places = [np.flatnonzero((score >= CERTAIN) & (score < EASY)) for score in scores]
        pairs = [(index, place) for index, some in enumerate(places) for place in some.tolist()]
        return np.array(pairs, np.int64).reshape(-1, 2)


def labelled(faces: TrainingFaces, teacher: Path, kept: Path, progress: Progress) -> Photographs:
    """Read the photographs, and label them with the YuNet file `teacher` unless the folder `kept` has that already.

    Raises:
        EdgefrError: a picture is damaged, or OpenCV cannot run the teacher.
    """
    if not teacher.is_file():
        raise EdgefrError(
            f"YuNet as teacher at {teacher}",
            "no file",
            "give face_detection_yunet_2023mar.onnx of OpenCV's model zoo with --set teacher=FILE",
        )
    with progress("Reading photographs", len(faces)) as advance:
        pictures = []
        for name in faces.names:
            pictures.append(faces.folder.read(name))
            advance(1)
    told = f"{faces.digest()} {sha256_of(teacher)} {DOUBTFUL} {OVERLAP} {SIZES}"
    path = kept / f"{hashlib.sha256(told.encode()).hexdigest()[:16]}.npz"
    if not path.is_file():
        _write(path, _looked_at(pictures, teacher, progress))
    return Photographs(pictures, _read(path, len(pictures)))


def _looked_at(pictures: list[Image], teacher: Path, progress: Progress) -> list[Floats]:
    try:
        net = cv2.FaceDetectorYN.create(str(teacher), "", (320, 320), DOUBTFUL, OVERLAP)
        finds = []
        with progress("Labelling photographs", len(pictures)) as advance:
            for picture in pictures:
                finds.append(looks_at(picture, net))
                advance(1)
    except cv2.error as error:
        raise EdgefrError(
            f"the YuNet detector in {teacher}",
            f"that OpenCV {cv2.__version__} cannot run it",
            "download face_detection_yunet_2023mar.onnx again from OpenCV's model zoo",
        ) from error
    return finds


def _write(path: Path, finds: list[Floats]) -> None:
    with atomic_write(path) as temporary:
        np.savez(temporary, counts=[len(rows) for rows in finds], rows=np.concatenate(finds))


def _read(path: Path, pictures: int) -> list[Floats]:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            counts, rows = stored["counts"], stored["rows"]
        if rows.shape != (counts.sum(), ROW) or len(counts) != pictures:
            raise ValueError(f"labels of {len(counts)} pictures")
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise EdgefrError(f"the labels of {pictures} photographs in {path}", str(error), "remove the file") from error
    return np.split(rows, np.cumsum(counts)[:-1])
