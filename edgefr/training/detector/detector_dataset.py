"""Pictures that a detector learns from, the n-th always alike: photographs nearly as they were taken; photographs
turned, scaled, cut out and laid side by side over faceless backgrounds, partly covered; and faceless ones. In poor
light, blurred and compressed, some turned as a whole - and what the teacher answers to each, corrected by what is
known.
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
from edgefr.training.common.parallel import World
from edgefr.training.common.recipes import Mix
from edgefr.training.detector.backgrounds import background, headless
from edgefr.training.detector.compositing import chosen, cover, lay
from edgefr.training.detector.label_averaging import moved
from edgefr.training.detector.labelled_photographs import Photographs
from edgefr.training.detector.teacher_predictions import Answers, corrected, turned
from edgefr.training.recogniser.face_variations import recolour
from edgefr.types import FACE_SIZE, Floats, Image

STREAM = 5
"""Random stream of a recipe's seed."""

FARTHEST = 50.0
"""Degrees by which a picture is turned at most as a whole, after the teacher has answered."""


class Lesson(NamedTuple):
    """Pictures (B, S, S, 3) uint8 and the teacher's answers at each of their places (B, P, 15) in pixels."""

    image: Tensor
    answers: Tensor


@dataclass(frozen=True)
class Composites(Dataset[Lesson]):
    """Composites without end, `side` pixels wide and high, answered by the YuNet file `teacher`."""

    photographs: Photographs
    teacher: Path
    side: int
    seed: int
    workers: int = 0
    mix: Mix = field(default_factory=Mix)

    @cached_property
    def _answers(self) -> Answers:
        """Opened by the process that asks it."""
        return Answers(self.teacher)

    def __getitem__(self, number: int) -> Lesson:
        """The composite of this number, always the same."""
        rng = np.random.default_rng((self.seed, STREAM, number))
        image, faces, no_others = composite(self.photographs, self.side, rng, self.mix)
        answers = corrected(self._answers.of(image), faces, no_others)
        if rng.random() < self.mix.turned:
            image, answers = turned(image, answers, rng.uniform(-FARTHEST, FARTHEST))
        return Lesson(torch.from_numpy(image), torch.from_numpy(answers))

    def batches(self, size: int, first: int, world: World) -> Iterator[Lesson]:
        """This process's parts of batches of so many, from the `first` batch on."""
        numbers = _Endless(size, first, world)
        if self.workers:
            cv2.setNumThreads(1)  # a forked process waits forever for OpenCV's other threads, which it has not
        return iter(DataLoader(self, batch_sampler=numbers, num_workers=self.workers, collate_fn=_stacked))


@dataclass(frozen=True)
class _Endless:
    """Numbers in batches as DataLoader takes them."""

    size: int
    first: int
    world: World

    def __iter__(self) -> Iterator[list[int]]:
        at = self.first * self.size
        while True:
            yield list(range(at + self.world.rank, at + self.size, self.world.size))
            at += self.size


def _stacked(lessons: list[Lesson]) -> Lesson:
    return Lesson(*(torch.stack(column) for column in zip(*lessons, strict=True)))


def composite(photographs: Photographs, side: int, rng: Rng, mix: Mix) -> tuple[Image, Floats, bool]:
    """A picture (side, side, 3), the faces (F, 15) known to be in it, and whether it is known that it has no others."""
    kind = rng.random()
    if kind < mix.as_taken:
        canvas, faces = as_taken(photographs, side, rng, mix)
        return (spoiled(canvas, faces, rng) if rng.random() < 0.3 else canvas), faces, False
    canvas = headless(photographs, side, rng) if rng.random() < 0.3 else background(photographs, side, rng)
    laid = []
    if kind < 1 - mix.faceless:
        laid = [lay(photographs, canvas, (x, y), size, rng, mix.hard) for x, y, size in layout(side, rng)]
    if rng.random() < 0.35:
        for _ in range(int(rng.integers(1, 4))):
            cover(photographs, canvas, laid, rng)
    faces = np.concatenate([np.zeros((0, 15), np.float32), *laid])
    return spoiled(canvas, faces, rng), faces, True


def as_taken(photographs: Photographs, side: int, rng: Rng, mix: Mix) -> tuple[Image, Floats]:
    """A window (side, side, 3) of a photograph, mirrored or not, exact or a little tilted and scaled, and its finds."""
    index, _ = chosen(photographs, rng, mix.hard)
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
    at = rng.uniform(np.minimum(room, 0), np.maximum(room, 0))
    matrix[:, 2] = -np.rint(low + at)
    window = cv2.warpAffine(picture, matrix, (side, side), flags=cv2.INTER_LINEAR)
    return np.asarray(window, np.uint8), moved(photographs.finds[index], matrix)


def layout(side: int, rng: Rng) -> list[tuple[float, float, float]]:
    """Where faces go in a composite, x, y and size of each: one of any size, or a group of smaller ones."""
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
            *(np.array(divmod(place, cells)) + rng.uniform(0.2, 0.8, 2)) * cell,
            float(usual * np.exp(rng.normal(0, 0.25))),
        )
        for place in chosen.tolist()
    ]


def spoiled(image: Image, faces: Floats, rng: Rng) -> Image:
    """The picture in other light, and made worse as far as the smallest of its faces (F, 15) bears."""
    if rng.random() < 0.6:
        image = recolour(image, rng)
    if rng.random() < 0.12:
        image = np.asarray(cv2.convertScaleAbs(image, alpha=rng.uniform(0.12, 0.5)), np.uint8)
    smallest = float(np.sqrt(faces[:, 2:4].prod(1)).min()) if len(faces) else float(len(image))
    if rng.random() < 0.2:
        image = blur(image, rng.uniform(0.3, max(0.6, smallest / 18)))
    elif rng.random() < 0.15 and smallest > 16:
        image = low_resolution(image, FACE_SIZE * rng.uniform(12 / smallest, 1))
    if rng.random() < 0.25:
        image = noise(image, rng.uniform(2, 18), rng)
    if rng.random() < 0.3:
        image = jpeg(image, int(rng.integers(15, 85)))
    return image
