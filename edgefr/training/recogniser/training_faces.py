"""The faces a recipe trains on, and how they are shown: plainly, mirrored, warped, blended or degraded."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
import numpy.typing as npt

from edgefr.data.collections import FaceFolder, open_faces, person_of
from edgefr.data.degradations import Rng
from edgefr.data.lfw_pairs import people_of, read_pairs
from edgefr.errors import EdgefrError
from edgefr.evaluation.train_test_overlap import format_folds
from edgefr.io.files import sha256_of
from edgefr.manifest import HeldOut, model_manifest
from edgefr.training.common.recipes import Data
from edgefr.types import FACE_SIZE, Faces, Image


class Pictures(Protocol):
    """N aligned faces to show; `labels` (N,) count `people` from 0, -1 is nobody's face."""

    @property
    def labels(self) -> npt.NDArray[np.int64]: ...

    @property
    def people(self) -> int: ...

    def __len__(self) -> int: ...

    def read(self, chosen: Sequence[int] | npt.NDArray[np.int64]) -> Faces:
        """(B,) places -> (B, 112, 112, 3) uint8 RGB."""

    def digest(self) -> str:
        """What the pictures are made from, as a SHA-256."""


@dataclass(frozen=True)
class TrainingFaces:
    """Aligned faces of people who are in no test pair, read when they are needed.

    `names` are N of the folder's pictures; `labels` (N,) count their people from 0.
    """

    folder: FaceFolder
    names: tuple[str, ...]
    labels: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.names)

    @property
    def people(self) -> int:
        return int(self.labels.max()) + 1

    def read(self, chosen: Sequence[int] | npt.NDArray[np.int64]) -> Faces:
        """(B,) places among the names -> (B, 112, 112, 3) uint8 RGB.

        Raises:
            EdgefrError: a picture is damaged or not 112x112.
        """
        return self.folder.read_faces([self.names[index] for index in chosen])

    def digest(self) -> str:
        """SHA-256 of names and pictures: of the file that they lie in or are listed in, and of the size and time of
        each that is a file of its own.

        Raises:
            EdgefrError: a picture of a list is not there.
        """
        digest = hashlib.sha256("\n".join(self.names).encode())
        if self.folder.path.is_file():
            digest.update(self.folder.sha256.encode())
        if self.folder.file_of is not None:
            for name in self.names:
                status = _status(self.folder.file_of(name))
                digest.update(f"{status.st_size} {status.st_mtime_ns}\n".encode())
        return digest.hexdigest()

    def held_out(self, data: Data) -> HeldOut:
        """For the manifest of what is trained on these faces: who is not among them."""
        if data.pairs is None:
            return HeldOut(None, (), self.folder.digest())
        return HeldOut(sha256_of(data.pairs), data.test_folds, self.folder.digest())

    def held_out_after(self, data: Data, begin: Path) -> HeldOut | None:
        """The same of a training that goes on from `begin`: None where that may know people whom these faces do not."""
        ours, known = self.held_out(data), model_manifest(begin)
        theirs = None if known is None else known.held_out
        if theirs is None or theirs.pairs != ours.pairs or not set(ours.folds) <= set(theirs.folds):
            return None
        return ours if ours.pairs is not None or theirs.faces == ours.faces else None

    def check_unseen(self, data: Data, checkpoints: Iterable[Path]) -> None:
        """Find out whether what goes into a training knows the people held out: what imitates it would, too.

        Raises:
            EdgefrError: a checkpoint was trained on some of them, as its manifest says.
        """
        manifests = {path: model_manifest(path) for path in checkpoints}
        trained = {path: known.held_out for path, known in manifests.items() if known and known.held_out}
        if data.pairs is None or not trained:
            return
        ours = self.held_out(data)
        for path, theirs in trained.items():
            seen = set(ours.folds) if theirs.faces == ours.faces else set()
            if theirs.pairs == ours.pairs:
                seen = set(ours.folds) - set(theirs.folds)
            if seen:
                raise EdgefrError(
                    f"people in {path} who are not in data.test_folds",
                    f"that it was trained on those of folds {format_folds(seen)}",
                    f"train it with data.test_folds = {list(ours.folds)}, or --set others here",
                )

    def describe(self, data: Data) -> str:
        text = f"{len(self):,} aligned faces of {self.people:,} people from {data.faces.name}"
        if data.pairs is None:
            return text
        folds = ", ".join(map(str, data.test_folds))
        return f"{text}, none of whom is in a pair of folds {folds} of {data.pairs.name}"


def _status(path: Path) -> os.stat_result:
    try:
        return path.stat()
    except OSError as error:
        raise EdgefrError(
            f"a picture at {path}", f"none ({error.strerror})", "put it there or take it off the list"
        ) from error


def read_training_faces(data: Data) -> TrainingFaces:
    """Everyone outside the test folds.

    Raises:
        EdgefrError: the data is missing or nobody is left.
    """
    folder = open_faces(data.faces)
    held_out = set() if data.pairs is None else people_of(read_pairs(data.pairs), data.test_folds)
    if held_out and held_out.isdisjoint(folder.people()):
        raise EdgefrError(
            f"pictures as Name/picture.jpg with the names of {data.pairs} in {data.faces}",
            "none of the people to hold out",
            "give the faces that belong to the pairs file",
        )
    names = tuple(name for name in folder.names if person_of(name) not in held_out)
    if not names:
        raise EdgefrError(f"people outside folds {data.test_folds} in {data.faces}", "none", "correct data.test_folds")
    if data.limit is not None:
        chosen = np.unique(np.linspace(0, len(names) - 1, min(data.limit, len(names))).astype(int))
        names = tuple(names[index] for index in chosen)
    _, labels = np.unique([person_of(name) for name in names], return_inverse=True)
    return TrainingFaces(folder, names, labels.astype(np.int64))


def warp(face: Image, rng: Rng, strength: float = 1.0) -> Image:
    """Flipped half of the time; turned, scaled and moved `strength` times as much as a detector's landmarks err."""
    if rng.random() < 0.5:
        face = np.ascontiguousarray(face[:, ::-1])
    middle = (FACE_SIZE - 1) / 2
    matrix = cv2.getRotationMatrix2D(
        (middle, middle), rng.normal(0, 2 * strength), float(np.exp(rng.normal(0, 0.02 * strength)))
    )
    matrix[:, 2] += rng.normal(0, strength, 2)
    return np.asarray(cv2.warpAffine(face, matrix, (FACE_SIZE, FACE_SIZE), flags=cv2.INTER_LINEAR), np.uint8)


def blend(first: Image, second: Image, rng: Rng) -> Image:
    """A face of nobody: two aligned faces mixed, evenly or with a soft edge between their parts.

    What the backbones say of it is as good an aim as any, so few people give endless faces.
    """
    if rng.random() < 0.5:
        share = np.full((FACE_SIZE, FACE_SIZE, 1), rng.uniform(0.3, 0.7), np.float32)
    else:
        angle, shift, width = rng.uniform(0, 2 * np.pi), rng.uniform(-12, 12), rng.uniform(4, 20)
        y, x = np.mgrid[:FACE_SIZE, :FACE_SIZE] - (FACE_SIZE - 1) / 2
        away = x * np.cos(angle) + y * np.sin(angle) - shift  # pixels from the edge
        share = (1 / (1 + np.exp(-away / width)))[..., None].astype(np.float32)
    return mix(first, second, share)


def mix(first: Image, second: Image, share: npt.NDArray[np.float32]) -> Image:
    """Two pictures, `share` (H, W, 1) of the first."""
    mixed = share * first + (1 - share) * second
    return np.asarray(np.rint(mixed), np.uint8)
