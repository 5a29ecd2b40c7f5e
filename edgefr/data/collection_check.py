"""What is wrong with a collection of aligned faces, found before days of training are spent on it."""

from __future__ import annotations

import multiprocessing
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal, SupportsInt

import cv2
import numpy as np
import numpy.typing as npt

from edgefr.data.collections import FaceFolder, found_in, person_of
from edgefr.data.duplicate_pictures import Bits, difference_hash, equal_groups, near_pairs, pixel_hash
from edgefr.errors import EdgefrError
from edgefr.types import FACE_SIZE, Image

CHUNK = 64
"""Pictures that a worker process looks at before it reports."""

MIDDLE = slice(56, 83), slice(40, 71)
"""First and last row and column of nose and cheeks in an aligned face: skin, hardly ever hair, eyes or background."""
MARGIN = 5.0
"""Skin of every colour reflects more red than blue. In MIDDLE the mean of R exceeds that of B by more than 5 of
255 in 7,663 of LFW's 7,701 aligned faces, and B that of R in 2 (0.03 %, both in blue stage light); the others
are grey or nearly. The median difference is 55."""
STRAY = 0.02
"""Share of pictures that may look swapped, or not, before a collection counts as mixed."""

LOOK = np.dtype([("width", "i4"), ("height", "i4"), ("pixels", "u8"), ("bits", "u1", 32), ("red", "f4")])
"""What is kept of a picture: 52 bytes, so that millions fit."""
Look = tuple[int, int, int, Bits, float]

_folder: FaceFolder
"""In a worker process only: its collection, which is too large to come along with every task."""


@dataclass(frozen=True)
class Channels:
    """Whether red and blue are where they should be, by the colour of skin.

    `right` and `swapped` count pictures by MARGIN; grey ones are neither. A collection is `swapped`, or `rgb`, when
    at most STRAY of them (or two) say otherwise, else `mixed`; it is `unknown` when all are grey. `suspects` are the
    names of the swapped.
    """

    verdict: Literal["rgb", "swapped", "mixed", "unknown"]
    right: int
    swapped: int
    suspects: tuple[str, ...]


@dataclass(frozen=True)
class Report:
    """What was found among `pictures` that were looked at; `people` and `alone` (those with a single picture) count
    the whole collection.

    `corrupt`: name -> what was found. `wrong_size`: name -> (width, height) other than 112x112. `duplicates`: groups
    of names with the same pixels. `near_duplicates`: names of nearly the same picture under different people.
    """

    pictures: int
    people: int
    alone: int
    corrupt: dict[str, str]
    wrong_size: dict[str, tuple[int, int]]
    duplicates: tuple[tuple[str, ...], ...]
    near_duplicates: tuple[tuple[str, str], ...]
    channels: Channels

    @property
    def clean(self) -> bool:
        """Nothing to mend. People with one picture and single suspects (blue light) are no fault."""
        found = self.corrupt or self.wrong_size or self.duplicates or self.near_duplicates
        return not found and self.channels.verdict in ("rgb", "unknown")


def check(folder: FaceFolder, names: Sequence[str], workers: int, advance: Callable[[int], None]) -> Report:
    """Look at each of `names` in `workers` processes and compare them.

    Raises:
        EdgefrError: a worker process died.
    """
    looks = np.zeros(len(names), LOOK)
    sound = np.zeros(len(names), bool)
    corrupt: dict[str, str] = {}
    for place, look in enumerate(_looks(folder, names, workers)):
        if isinstance(look, str):
            corrupt[names[place]] = look
        else:
            looks[place], sound[place] = look, True
        advance(1)
    kept = np.flatnonzero(sound)
    looks = looks[kept]

    def name(row: SupportsInt) -> str:
        return names[int(kept[int(row)])]

    wrong = np.flatnonzero((looks["width"] != FACE_SIZE) | (looks["height"] != FACE_SIZE))
    pictures = Counter(map(person_of, folder.names))
    return Report(
        pictures=len(names),
        people=len(pictures),
        alone=sum(count == 1 for count in pictures.values()),
        corrupt=corrupt,
        wrong_size={name(row): (int(looks["width"][row]), int(looks["height"][row])) for row in wrong},
        duplicates=tuple(tuple(map(name, group)) for group in equal_groups(looks["pixels"])),
        near_duplicates=tuple(_near(looks, name)),
        channels=_channels(looks["red"], name),
    )


def red_over_blue(image: Image) -> float:
    """Mean of R less mean of B in the middle of a face, (112, 112, 3) or in proportion."""
    height, width = image.shape[:2]
    top, bottom = MIDDLE[0].start * height // FACE_SIZE, MIDDLE[0].stop * height // FACE_SIZE
    left, right = MIDDLE[1].start * width // FACE_SIZE, MIDDLE[1].stop * width // FACE_SIZE
    mean = image[top : bottom + 1, left : right + 1].mean(axis=(0, 1))
    return float(mean[0] - mean[2])


def _near(looks: npt.NDArray[np.void], name: Callable[[SupportsInt], str]) -> Iterator[tuple[str, str]]:
    """Near duplicates of different people that are no exact ones."""
    for first, second in near_pairs(looks["bits"]).tolist():
        if looks["pixels"][first] != looks["pixels"][second] and person_of(name(first)) != person_of(name(second)):
            yield name(first), name(second)


def _channels(red: npt.NDArray[np.float32], name: Callable[[SupportsInt], str]) -> Channels:
    suspects = tuple(map(name, np.flatnonzero(red < -MARGIN)))
    right, swapped = int((red > MARGIN).sum()), len(suspects)
    stray = max(2, STRAY * (right + swapped))
    verdict: Literal["rgb", "swapped", "mixed", "unknown"]
    if right + swapped == 0:
        verdict = "unknown"
    elif min(right, swapped) > stray:
        verdict = "mixed"
    else:
        verdict = "rgb" if right >= swapped else "swapped"
    return Channels(verdict, right, swapped, suspects)


def _looks(folder: FaceFolder, names: Sequence[str], workers: int) -> Iterator[Look | str]:
    """A look at every picture, in order, or what was found instead of one."""
    if workers == 1:
        yield from map(partial(_look, folder), names)
        return
    chunks = (names[start : start + CHUNK] for start in range(0, len(names), CHUNK))
    # Spawned, because neither OpenCV's threads nor the progress bar's survive a fork.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, _start, (replace(folder, names=()),)) as pool:
        try:
            for rows in pool.map(_look_at_each, chunks):
                yield from rows
        except BrokenProcessPool as error:
            raise EdgefrError(
                f"to look at every picture in {folder.path}",
                "that a worker process died",
                "run again with --workers 1, or with fewer of them where memory is short",
            ) from error


def _look(folder: FaceFolder, name: str) -> Look | str:
    try:
        image = folder.read(name)
    except EdgefrError as error:
        return found_in(error)
    height, width = image.shape[:2]
    return width, height, pixel_hash(image), difference_hash(image), red_over_blue(image)


def _start(folder: FaceFolder) -> None:
    """What a worker process needs once: the collection, and OpenCV without threads of its own."""
    global _folder
    _folder = folder
    cv2.setNumThreads(1)


def _look_at_each(names: Sequence[str]) -> list[Look | str]:
    return [_look(_folder, name) for name in names]
