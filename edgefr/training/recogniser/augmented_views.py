"""Views: each face shown in several ways, the n-th always alike, in batches that a seed and a number settle."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from edgefr.data.degradations import random_degradation
from edgefr.errors import EdgefrError
from edgefr.training.common.parallel import World
from edgefr.training.common.recipes import Schedule, Views
from edgefr.training.recogniser.training_faces import Pictures, blend, warp

NOBODY = -1
"""The label of a blend."""

VIEW_STREAM, ORDER_STREAM = 3, 4
"""Random streams of a recipe's seed, one for each use."""

Numbers = npt.NDArray[np.int64]


class Shown(NamedTuple):
    """What the backbones will see of faces, (B, 112, 112, 3) uint8; the clean picture, whose embedding is the aim; the
    faces' places among the training faces (B,) and their people's labels (B,), -1 both for blends."""

    seen: Tensor
    clean: Tensor
    face: Tensor
    label: Tensor


@dataclass(frozen=True)
class ViewSet(Dataset[Shown]):
    """All views of the training faces; numbers beyond their count are those of further epochs."""

    faces: Pictures
    views: Views
    seed: int
    workers: int = 0

    def __len__(self) -> int:
        return len(self.faces) * (2 if self.views.kind == "mirrored" else self.views.variants)

    def __getitem__(self, number: int) -> Shown:
        """The view of this number, always the same."""
        place = number % len(self.faces)
        face = self.faces.read([place])[0]
        label = int(self.faces.labels[place])
        if self.views.kind == "mirrored":
            mirrored = (number // len(self.faces)) % 2
            return _shown(face[:, ::-1] if mirrored else face, face, place, label)
        rng = np.random.default_rng((self.seed, VIEW_STREAM, number))
        if rng.random() < self.views.blends:
            face = blend(face, self.faces.read([int(rng.integers(len(self.faces)))])[0], rng)
            place = label = NOBODY
        seen = warp(face, rng)
        if rng.random() >= self.views.clean:
            seen = random_degradation(seen, rng)
        return _shown(seen, face, place, label)

    def loader(self, batches: Iterator[Numbers]) -> Iterator[Shown]:
        """Batches of views by their numbers, rendered by the workers that the data asks for.

        Raises:
            EdgefrError: on the way, a picture is damaged.
        """
        loader = DataLoader(
            _Guarded(self), batch_sampler=_Lists(batches), num_workers=self.workers, collate_fn=_collate
        )
        # Begun here and not by a generator: it draws a random number, which must not be one of a step's.
        return _raise_errors(iter(loader))


class _Guarded(Dataset[Shown | EdgefrError]):
    """A data set whose errors are items: torch would put a worker's traceback into the message of an error."""

    def __init__(self, views: ViewSet) -> None:
        self.views = views

    def __len__(self) -> int:
        return len(self.views)

    def __getitem__(self, number: int) -> Shown | EdgefrError:
        try:
            return self.views[number]
        except EdgefrError as error:
            return error


def _collate(views: list[Shown | EdgefrError]) -> Shown | EdgefrError:
    for view in views:
        if isinstance(view, EdgefrError):
            return view
    return _stacked([view for view in views if not isinstance(view, EdgefrError)])


def _raise_errors(batches: Iterator[Shown | EdgefrError]) -> Iterator[Shown]:
    for batch in batches:
        if isinstance(batch, EdgefrError):
            raise batch
        yield batch


class _Lists:
    """Batches of numbers as DataLoader takes them."""

    def __init__(self, batches: Iterator[Numbers]) -> None:
        self.batches = batches

    def __iter__(self) -> Iterator[list[int]]:
        return (numbers.tolist() for numbers in self.batches)


def check_batch(count: int, schedule: Schedule, world: World) -> None:
    """Find out whether `count` views and all processes suit a schedule.

    Raises:
        EdgefrError: there are fewer views than a step takes, or processes would have different parts of a batch.
    """
    needed = schedule.batch * schedule.accumulate
    if count < needed:
        raise EdgefrError(
            f"at least {needed} views, those of one step", str(count), "give more faces or --set a smaller batch"
        )
    if schedule.batch % world.size:
        raise EdgefrError(
            f"a batch that {world.size} processes can share evenly",
            str(schedule.batch),
            "--set another batch or start another number of processes",
        )


def shuffled(count: int, schedule: Schedule, seed: int, world: World, start: int, fresh: bool) -> Iterator[Numbers]:
    """This process's part of every batch from the `start`-th on, (batch / processes,), epoch after epoch.

    `fresh` counts on from epoch to epoch, for views that are never shown twice.
    """
    a_epoch = schedule.steps_of_an_epoch(count) * schedule.accumulate
    epoch, batch = divmod(start, a_epoch)
    while True:
        order = np.random.default_rng((seed, ORDER_STREAM, epoch)).permutation(count)
        for index in range(batch, a_epoch):
            numbers = order[index * schedule.batch : (index + 1) * schedule.batch]
            yield numbers[world.rank :: world.size] + (epoch * count if fresh else 0)
        epoch, batch = epoch + 1, 0


def _shown(seen: npt.NDArray[np.uint8], clean: npt.NDArray[np.uint8], face: int, label: int) -> Shown:
    first, second = (torch.from_numpy(np.ascontiguousarray(picture)) for picture in (seen, clean))
    return Shown(first, second, torch.tensor(face), torch.tensor(label))


def _stacked(shown: list[Shown]) -> Shown:
    return Shown(*(torch.stack(column) for column in zip(*shown, strict=True)))
