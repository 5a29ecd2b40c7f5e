"""Pictures that a detector learns from, the n-th always alike: photographs turned, scaled, cut out and laid side by
side over faceless backgrounds, partly covered, in poor light, blurred and compressed - and where their faces went.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from edgefr.data.degrade import Rng, blur, jpeg, low_resolution, noise
from edgefr.spec import FACE_SIZE, Floats, Image
from edgefr.train.backgrounds import background
from edgefr.train.laying import NOTHING, cover, lay, seen
from edgefr.train.parallel import World
from edgefr.train.photographs import Photographs
from edgefr.train.variations import recolour

STREAM = 5
"""Random stream of a recipe's seed."""

MOST = 24
"""Faces that a composite may have; those beyond are the smallest, which are not taught."""


class Composite(NamedTuple):
    """Pictures (B, S, S, 3) uint8 and their faces (B, 24, 15) in pixels: box, five points, and 1 for a face, 0 for what
    may be one, -1 for an empty row."""

    image: Tensor
    faces: Tensor


@dataclass(frozen=True)
class Composites(Dataset[Composite]):
    """Composites without end, `side` pixels wide and high."""

    photographs: Photographs
    side: int
    seed: int
    workers: int = 0

    def __getitem__(self, number: int) -> Composite:
        """The composite of this number, always the same."""
        image, faces = composite(self.photographs, self.side, np.random.default_rng((self.seed, STREAM, number)))
        rows = np.full((MOST, faces.shape[1]), -1, np.float32)
        rows[: len(faces)] = faces
        return Composite(torch.from_numpy(image), torch.from_numpy(rows))

    def batches(self, size: int, first: int, world: World) -> Iterator[Composite]:
        """This process's parts of batches of so many, from the `first` batch on."""
        numbers = _Endless(size, first, world)
        loader = DataLoader(self, batch_sampler=numbers, num_workers=self.workers, collate_fn=_stacked)
        return iter(loader)


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


def _stacked(composites: list[Composite]) -> Composite:
    return Composite(*(torch.stack(column) for column in zip(*composites, strict=True)))


def composite(photographs: Photographs, side: int, rng: Rng) -> tuple[Image, Floats]:
    """A picture (side, side, 3) and its faces (F, 15), the last value 1 for a face, 0 for what may be one."""
    canvas = background(photographs, side, rng)
    owners = np.full((side, side), NOTHING, np.int16)
    faces = []
    for number, (x, y, size) in enumerate(layout(side, rng)):
        faces.append(lay(photographs, canvas, owners, number, (x, y), size, rng))
    if rng.random() < 0.35:
        for _ in range(int(rng.integers(1, 4))):
            cover(photographs, canvas, owners, faces, rng)
    rows = [seen(rows, owners, number) for number, rows in enumerate(faces)]
    known = np.concatenate([np.zeros((0, 15), np.float32), *rows])
    known = known[np.argsort(-known[:, 2] * known[:, 3])][:MOST]
    return spoiled(canvas, known, rng), known


def layout(side: int, rng: Rng) -> list[tuple[float, float, float]]:
    """Where faces go in a composite, x, y and size of each: none, one of any size, or a group of smaller ones."""
    kind = rng.random()
    if kind < 0.06:
        return []
    if kind < 0.45:
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
    """The picture in other light, and made worse as far as its smallest face bears."""
    if rng.random() < 0.6:
        image = recolour(image, rng)
    if rng.random() < 0.12:
        image = np.asarray(cv2.convertScaleAbs(image, alpha=rng.uniform(0.12, 0.5)), np.uint8)
    taught = faces[faces[:, 14] == 1]
    smallest = float(np.sqrt(taught[:, 2:4].prod(1)).min()) if len(taught) else float(len(image))
    if rng.random() < 0.2:
        image = blur(image, rng.uniform(0.3, max(0.6, smallest / 18)))
    elif rng.random() < 0.15 and smallest > 16:
        image = low_resolution(image, FACE_SIZE * rng.uniform(12 / smallest, 1))
    if rng.random() < 0.25:
        image = noise(image, rng.uniform(2, 18), rng)
    if rng.random() < 0.3:
        image = jpeg(image, int(rng.integers(15, 85)))
    return image
