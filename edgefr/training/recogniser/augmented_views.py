"""Data augmentation of training faces: each number gives the same augmented image, in reproducible batches."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_collate

from edgefr.data.degradations import random_degradation
from edgefr.errors import EdgefrError, InvalidArgumentError
from edgefr.training.common.parallel import World
from edgefr.training.common.recipes import AugmentationConfig, Schedule
from edgefr.training.common.signals import delay_termination
from edgefr.training.recogniser.training_faces import FaceImages, Ints, blend, warp
from edgefr.types import Image

NOBODY = -1
"""The label of a blend."""

AUGMENTATION_STREAM, ORDER_STREAM = 3, 4
"""Random streams of a recipe's seed, one for each use."""


class AugmentedBatch(NamedTuple):
    """B augmented faces, or one without the axis B.

    Attributes:
        image: (B, 112, 112, 3) uint8, the augmented image.
        clean: (B, 112, 112, 3) uint8, the clean image, whose embedding is the distillation target.
        face_index: (B,) index among the training faces, -1 for a blend.
        label: (B,) label of the person, -1 for a blend.
    """

    image: Tensor
    clean: Tensor
    face_index: Tensor
    label: Tensor


@dataclass(frozen=True)
class AugmentedDataset(Dataset[AugmentedBatch]):
    """Augmented images of the training faces.

    Attributes:
        faces: The training faces.
        config: Kinds and shares of augmentation.
        seed: Seed of the recipe.
        workers: Loading processes.
    """

    faces: FaceImages
    config: AugmentationConfig
    seed: int
    workers: int = 0

    def __len__(self) -> int:
        """Images of one epoch; larger numbers are those of further epochs."""
        return len(self.faces) * (2 if self.config.kind == "mirrored" else self.config.variants)

    def __getitem__(self, number: int) -> AugmentedBatch:
        """The image of this number, always the same."""
        index = number % len(self.faces)
        face = self.faces.read([index])[0]
        label = int(self.faces.labels[index])
        if self.config.kind == "mirrored":
            mirrored = (number // len(self.faces)) % 2
            return _to_tensors(face[:, ::-1] if mirrored else face, face, index, label)
        rng = np.random.default_rng((self.seed, AUGMENTATION_STREAM, number))
        if rng.random() < self.config.blends:
            face = blend(face, self.faces.read([int(rng.integers(len(self.faces)))])[0], rng)
            index = label = NOBODY
        image = warp(face, rng)
        if rng.random() >= self.config.clean:
            image = random_degradation(image, rng)
        return _to_tensors(image, face, index, label)

    def loader(self, batches: Iterator[Ints]) -> Iterator[AugmentedBatch]:
        """Load batches, in `workers` processes if there are any.

        Args:
            batches: Numbers (B,) of the images of each batch.

        Returns:
            The batches in order. Iterating raises EdgefrError if a picture is damaged.
        """
        loader = DataLoader(
            _ErrorsAsItems(self),
            batch_sampler=(numbers.tolist() for numbers in batches),
            num_workers=self.workers,
            collate_fn=_collate,
            worker_init_fn=delay_termination,
        )
        # The iterator draws a random number when it starts. Starting it here and not in a generator keeps that number
        # out of the random stream of a training step.
        return _raise_errors(iter(loader))


class _ErrorsAsItems(Dataset[AugmentedBatch | EdgefrError]):
    """Returns errors as items, because torch puts the traceback of a worker into the text of an error."""

    def __init__(self, dataset: AugmentedDataset) -> None:
        self._dataset = dataset

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, number: int) -> AugmentedBatch | EdgefrError:
        try:
            return self._dataset[number]
        except EdgefrError as error:
            return error


def _collate(items: list[AugmentedBatch | EdgefrError]) -> AugmentedBatch | EdgefrError:
    error = next((item for item in items if isinstance(item, EdgefrError)), None)
    batch: AugmentedBatch | EdgefrError = error or default_collate(items)
    return batch


def _raise_errors(batches: Iterator[AugmentedBatch | EdgefrError]) -> Iterator[AugmentedBatch]:
    try:
        for batch in batches:
            if isinstance(batch, EdgefrError):
                raise batch
            yield batch
    finally:
        del batches  # stops the loading processes now, although the traceback keeps this frame


def check_batch_size(samples: int, schedule: Schedule, world: World) -> None:
    """Check that an epoch and the processes suit the batches of a schedule.

    Args:
        samples: Samples of one epoch.
        schedule: The schedule.
        world: The processes that share each batch.

    Raises:
        InvalidArgumentError: A step takes more samples than there are, or the processes cannot share a batch evenly.
    """
    needed = schedule.batch * schedule.accumulate
    if samples < needed:
        raise InvalidArgumentError(
            f"at least {needed} views, those of one step", str(samples), "give more faces or --set a smaller batch"
        )
    if schedule.batch % world.size:
        raise InvalidArgumentError(
            f"a batch that {world.size} processes can share evenly",
            str(schedule.batch),
            "--set another batch or start another number of processes",
        )


def shuffled_batches(
    samples: int, schedule: Schedule, seed: int, world: World, start: int, fresh: bool
) -> Iterator[Ints]:
    """This process's part of every batch, epoch after epoch without end.

    Args:
        samples: Samples of one epoch.
        schedule: Batch size.
        seed: Seed of the order.
        world: The processes that share each batch.
        start: Number of the first batch.
        fresh: Whether numbers go on from epoch to epoch, so that no augmented image is repeated.

    Returns:
        Numbers (batch / processes,) of each batch.
    """
    per_epoch = schedule.steps_per_epoch(samples) * schedule.accumulate
    epoch, batch = divmod(start, per_epoch)
    while True:
        order = np.random.default_rng((seed, ORDER_STREAM, epoch)).permutation(samples)
        for index in range(batch, per_epoch):
            numbers = order[index * schedule.batch : (index + 1) * schedule.batch]
            yield numbers[world.rank :: world.size] + (epoch * samples if fresh else 0)
        epoch, batch = epoch + 1, 0


def _to_tensors(image: Image, clean: Image, index: int, label: int) -> AugmentedBatch:
    first, second = (torch.from_numpy(np.ascontiguousarray(picture)) for picture in (image, clean))
    return AugmentedBatch(first, second, torch.tensor(index), torch.tensor(label))
