"""The faces that a recipe trains on, and the elementary augmentations: warp, blend and mix."""

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
from edgefr.errors import EdgefrError, UnreadableImageError
from edgefr.evaluation.train_test_overlap import format_folds
from edgefr.io.files import sha256_of
from edgefr.manifest import HeldOut, model_manifest
from edgefr.training.common.recipes import DataConfig
from edgefr.types import FACE_SIZE, Faces, Image

Ints = npt.NDArray[np.int64]


class FaceImages(Protocol):
    """N aligned faces with labels."""

    @property
    def labels(self) -> Ints:
        """(N,) numbers of the people from 0; -1 for a face of nobody."""

    @property
    def people(self) -> int:
        """Number of people."""

    def __len__(self) -> int: ...

    def read(self, indices: Sequence[int] | Ints) -> Faces:
        """(B,) indices -> (B, 112, 112, 3) uint8 RGB."""

    def digest(self) -> str:
        """SHA-256 of the images or of what they are made from."""


@dataclass(frozen=True)
class TrainingFaces:
    """Aligned faces of people who are in no test pair, read when they are needed.

    Attributes:
        folder: The collection.
        names: Names of the N pictures in it.
        labels: (N,) numbers of their people from 0.
    """

    folder: FaceFolder
    names: tuple[str, ...]
    labels: Ints

    def __len__(self) -> int:
        return len(self.names)

    @property
    def people(self) -> int:
        """Number of people."""
        return int(self.labels.max()) + 1

    def read(self, indices: Sequence[int] | Ints) -> Faces:
        """Read pictures.

        Args:
            indices: (B,) indices into `names`.

        Returns:
            (B, 112, 112, 3) uint8 RGB.

        Raises:
            EdgefrError: A picture is damaged or not 112x112.
        """
        return self.folder.read_faces([self.names[index] for index in indices])

    def digest(self) -> str:
        """SHA-256 of the names and the pictures.

        Pictures count by the content of the file that holds or lists them, and separate files by size and time.

        Raises:
            EdgefrError: A picture of a list is missing.
        """
        digest = hashlib.sha256("\n".join(self.names).encode())
        if self.folder.path.is_file():
            digest.update(self.folder.sha256.encode())
        if self.folder.file_of is not None:
            for name in self.names:
                status = _stat(self.folder.file_of(name))
                digest.update(f"{status.st_size} {status.st_mtime_ns}\n".encode())
        return digest.hexdigest()

    def held_out(self, data: DataConfig) -> HeldOut:
        """The people that a model trained on these faces has not seen, for its manifest."""
        if data.pairs is None:
            return HeldOut(None, (), self.folder.digest())
        return HeldOut(sha256_of(data.pairs), data.test_folds, self.folder.digest())

    def held_out_with_initial(self, data: DataConfig, initial: Path) -> HeldOut | None:
        """The same for a model that starts from other weights.

        Args:
            data: Table of the recipe.
            initial: The weights that training starts from.

        Returns:
            What is held out, or None if `initial` may have been trained on people who are held out here.
        """
        ours, manifest = self.held_out(data), model_manifest(initial)
        theirs = None if manifest is None else manifest.held_out
        if theirs is None or theirs.pairs != ours.pairs or not set(ours.folds) <= set(theirs.folds):
            return None
        return ours if ours.pairs is not None or theirs.faces == ours.faces else None

    def check_no_leakage(self, data: DataConfig, checkpoints: Iterable[Path]) -> None:
        """Check that no checkpoint that a training uses was trained on the people held out.

        Args:
            data: Table of the recipe.
            checkpoints: Backbones, teachers and initial weights.

        Raises:
            EdgefrError: The manifest of a checkpoint says that it was.
        """
        manifests = {path: model_manifest(path) for path in checkpoints}
        trained = {path: known.held_out for path, known in manifests.items() if known and known.held_out}
        if data.pairs is None or not trained:
            return
        ours = self.held_out(data)
        for path, theirs in trained.items():
            leaked = set(ours.folds) if theirs.faces == ours.faces else set()
            if theirs.pairs == ours.pairs:
                leaked = set(ours.folds) - set(theirs.folds)
            if leaked:
                raise EdgefrError(
                    f"{path} not to be trained on the people of data.test_folds",
                    f"that it was trained on those of folds {format_folds(leaked)}",
                    f"train it with data.test_folds = {list(ours.folds)}, or --set other folds here",
                )

    def describe(self, data: DataConfig) -> str:
        """The faces in words, for manifests."""
        text = f"{len(self):,} aligned faces of {self.people:,} people from {data.faces.name}"
        if data.pairs is None:
            return text
        folds = ", ".join(map(str, data.test_folds))
        return f"{text}, none of whom is in a pair of folds {folds} of {data.pairs.name}"


def _stat(path: Path) -> os.stat_result:
    try:
        return path.stat()
    except OSError as error:
        raise UnreadableImageError(
            f"a picture at {path}", f"none ({error.strerror})", "put it there or remove it from the list"
        ) from error


def read_training_faces(data: DataConfig) -> TrainingFaces:
    """Open the faces of everyone outside the test folds.

    Args:
        data: Table of the recipe.

    Returns:
        The faces, in the order of the collection.

    Raises:
        EdgefrError: The data is missing, or nobody is left.
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
    """Mirror every other face, and rotate, scale and shift it.

    Args:
        face: (112, 112, 3).
        rng: Random generator.
        strength: 1 is as much as the landmarks of a detector err.

    Returns:
        (112, 112, 3).
    """
    if rng.random() < 0.5:
        face = np.ascontiguousarray(face[:, ::-1])
    middle = (FACE_SIZE - 1) / 2
    matrix = cv2.getRotationMatrix2D(
        (middle, middle), rng.normal(0, 2 * strength), float(np.exp(rng.normal(0, 0.02 * strength)))
    )
    matrix[:, 2] += rng.normal(0, strength, 2)
    return np.asarray(cv2.warpAffine(face, matrix, (FACE_SIZE, FACE_SIZE), flags=cv2.INTER_LINEAR), np.uint8)


def blend(first: Image, second: Image, rng: Rng) -> Image:
    """Blend two aligned faces, evenly or with a soft edge between their parts, into a face of nobody.

    The embedding of a blend is as good a distillation target as any, so that few people give endless faces.
    """
    if rng.random() < 0.5:
        share = np.full((FACE_SIZE, FACE_SIZE, 1), rng.uniform(0.3, 0.7), np.float32)
    else:
        angle, shift, width = rng.uniform(0, 2 * np.pi), rng.uniform(-12, 12), rng.uniform(4, 20)
        y, x = np.mgrid[:FACE_SIZE, :FACE_SIZE] - (FACE_SIZE - 1) / 2
        distance = x * np.cos(angle) + y * np.sin(angle) - shift  # pixels from the edge
        share = (1 / (1 + np.exp(-distance / width)))[..., None].astype(np.float32)
    return mix(first, second, share)


def mix(first: Image, second: Image, share: npt.NDArray[np.float32]) -> Image:
    """Mix two pictures (H, W, 3) with a share (H, W, 1) of the first."""
    mixed = share * first + (1 - share) * second
    return np.asarray(np.rint(mixed), np.uint8)
