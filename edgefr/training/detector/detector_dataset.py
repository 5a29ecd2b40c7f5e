"""Training pictures of a detector, with data augmentation and the teacher's dense predictions.

There are photographs nearly as they were taken; composites of photographs rotated, scaled, cut out and pasted onto
faceless backgrounds, partly covered; and faceless pictures. They are relit, blurred and compressed, and some are
rotated as a whole. The predictions are corrected by the known faces.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from edgefr.data.degradations import Rng, blur, jpeg, low_resolution, noise
from edgefr.detection.base import Detections
from edgefr.detection.geometry import warp_detections
from edgefr.training.common.parallel import World
from edgefr.training.common.recipes import CompositeConfig
from edgefr.training.common.signals import delay_termination
from edgefr.training.detector.backgrounds import photograph_without_heads, random_background, scene_window
from edgefr.training.detector.compositing import choose_face, paste_face, paste_occluder
from edgefr.training.detector.labelled_photographs import LabelledPhotographs
from edgefr.training.detector.teacher_predictions import YuNetDense, apply_known_labels, rotate_predictions
from edgefr.training.recogniser.face_variations import recolour
from edgefr.types import FACE_SIZE, Image

STREAM = 5
"""Random stream of a recipe's seed."""

MAX_ROTATION = 50.0
"""Degrees by which a picture is rotated at most as a whole, after the teacher's prediction."""


class Sample(NamedTuple):
    """B training pictures, or one without the axis B.

    Attributes:
        image: (B, S, S, 3) uint8.
        predictions: (B, P, 15) the teacher's face at every anchor point in pixels.
    """

    image: Tensor
    predictions: Tensor


@dataclass(frozen=True)
class DetectorDataset(Dataset[Sample]):
    """Endless training pictures.

    Attributes:
        photographs: Labelled photographs.
        teacher: File of YuNet.
        side: Width and height of a picture in pixels.
        seed: Seed of the recipe.
        workers: Loading processes.
        mix: Shares of the kinds of pictures.
    """

    photographs: LabelledPhotographs
    teacher: Path
    side: int
    seed: int
    workers: int = 0
    mix: CompositeConfig = field(default_factory=CompositeConfig)

    @cached_property
    def _yunet(self) -> YuNetDense:
        """Opened by the process that uses it."""
        return YuNetDense(self.teacher)

    def __getitem__(self, number: int) -> Sample:
        """The picture of this number, always the same."""
        rng = np.random.default_rng((self.seed, STREAM, number))
        image, faces, complete = make_composite(self.photographs, self.side, rng, self.mix)
        predictions = apply_known_labels(self._yunet.predict(image), faces, complete)
        if rng.random() < self.mix.turned:
            image, predictions = rotate_predictions(image, predictions, rng.uniform(-MAX_ROTATION, MAX_ROTATION))
        return Sample(torch.from_numpy(image), torch.from_numpy(predictions.to_rows()))

    def batches(self, size: int, start: int, world: World) -> Iterator[Sample]:
        """This process's parts of endless batches.

        Args:
            size: Pictures of a batch, over all processes.
            start: Number of the first batch.
            world: The processes that share each batch.

        Returns:
            The batches from `start` on.
        """
        if self.workers:
            cv2.setNumThreads(1)  # a forked process would wait forever for OpenCV's other threads
        loader = DataLoader(
            self,
            batch_sampler=_batch_numbers(size, start, world),
            num_workers=self.workers,
            worker_init_fn=delay_termination,
        )
        return (sample for sample in iter(loader))  # a generator can be closed, which stops the loading processes


def _batch_numbers(size: int, start: int, world: World) -> Iterator[list[int]]:
    first = start * size
    while True:
        yield list(range(first + world.rank, first + size, world.size))
        first += size


def make_composite(
    photographs: LabelledPhotographs, side: int, rng: Rng, mix: CompositeConfig
) -> tuple[Image, Detections, bool]:
    """Make a training picture.

    Args:
        photographs: Labelled photographs.
        side: Width and height in pixels.
        rng: Random generator.
        mix: Shares of the kinds of pictures.

    Returns:
        The picture (side, side, 3), the faces known to be in it, and whether it is known to have no others.
    """
    if photographs.scenes and rng.random() < photographs.scene_share:
        scene, nobody = scene_window(photographs, side, rng), Detections.from_rows(None)
        return (degrade(scene, nobody, rng) if rng.random() < 0.3 else scene), nobody, True
    kind = rng.random()
    if kind < mix.as_taken:
        canvas, faces = crop(photographs, side, rng, mix)
        return (degrade(canvas, faces, rng) if rng.random() < 0.3 else canvas), faces, False
    with_photograph = rng.random() < 0.3
    canvas = (photograph_without_heads if with_photograph else random_background)(photographs, side, rng)
    faces = Detections.from_rows(None)
    if kind < 1 - mix.faceless:
        places = random_layout(side, rng)
        pasted = [paste_face(photographs, canvas, (x, y), size, rng, mix.hard) for x, y, size in places]
        faces = Detections.concatenate(pasted)
    if rng.random() < 0.35:
        for _ in range(int(rng.integers(1, 4))):
            paste_occluder(photographs, canvas, faces, rng)
    return degrade(canvas, faces, rng), faces, True


def crop(photographs: LabelledPhotographs, side: int, rng: Rng, mix: CompositeConfig) -> tuple[Image, Detections]:
    """Crop a window (side, side, 3) of a photograph, mirrored or not, exact or slightly tilted and scaled."""
    index, _ = choose_face(photographs, rng, mix.hard)
    picture = photographs.pictures[index]
    scale, tilt = 1.0, 0.0
    if rng.random() >= mix.exact:
        scale, tilt = float(np.exp(rng.normal(0, 0.2))), float(rng.normal(0, 6))
    matrix = cv2.getRotationMatrix2D((0, 0), tilt, scale)
    if rng.random() < 0.5:
        matrix[0] *= -1
    height, width = picture.shape[:2]
    corners = np.array([(0, 0), (width, 0), (0, height), (width, height)]) @ matrix[:, :2].T
    low, room = corners.min(0), np.ptp(corners, 0) - side
    offset = rng.uniform(np.minimum(room, 0), np.maximum(room, 0))
    matrix[:, 2] = -np.rint(low + offset)
    window = cv2.warpAffine(picture, matrix, (side, side), flags=cv2.INTER_LINEAR)
    return np.asarray(window, np.uint8), warp_detections(photographs.labels[index], matrix)


def random_layout(side: int, rng: Rng) -> list[tuple[float, float, float]]:
    """Centre x, y and size of the faces of a composite: one of any size, or a group of smaller ones."""
    if rng.random() < 0.42:
        size = float(np.exp(rng.uniform(np.log(12), np.log(1.05 * side))))
        x, y = side * rng.uniform(0.05, 0.95, 2)
        return [(x, y, size)]
    cells = int(rng.integers(2, 6))
    cell = side / cells
    chosen = rng.permutation(cells * cells)[: int(rng.integers(2, min(17, cells * cells + 1)))]
    usual = np.exp(rng.uniform(np.log(11), np.log(0.9 * cell)))
    return [
        (
            *(np.array(divmod(index, cells)) + rng.uniform(0.2, 0.8, 2)) * cell,
            float(usual * np.exp(rng.normal(0, 0.25))),
        )
        for index in chosen.tolist()
    ]


def degrade(image: Image, faces: Detections, rng: Rng) -> Image:
    """Relight a picture at random, and degrade it as far as the smallest face remains visible."""
    if rng.random() < 0.6:
        image = recolour(image, rng)
    if rng.random() < 0.12:
        image = np.asarray(cv2.convertScaleAbs(image, alpha=rng.uniform(0.12, 0.5)), np.uint8)
    smallest = float(np.sqrt(faces.boxes[:, 2:].prod(1)).min()) if faces else float(len(image))
    if rng.random() < 0.2:
        image = blur(image, rng.uniform(0.3, max(0.6, smallest / 18)))
    elif rng.random() < 0.15 and smallest > 16:
        image = low_resolution(image, FACE_SIZE * rng.uniform(12 / smallest, 1))
    if rng.random() < 0.25:
        image = noise(image, rng.uniform(2, 18), rng)
    if rng.random() < 0.3:
        image = jpeg(image, int(rng.integers(15, 85)))
    return image
