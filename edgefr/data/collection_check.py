"""Checks a collection of aligned faces for faults that would spoil a training."""

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

from edgefr.data.collections import FaceFolder, person_of
from edgefr.data.duplicate_pictures import Bits, difference_hash, equal_groups, near_pairs, pixel_hash
from edgefr.errors import EdgefrError, UnreadableImageError
from edgefr.types import FACE_SIZE, Image

CHUNK = 64
"""Pictures that a worker process checks before it reports."""

MIDDLE = slice(56, 83), slice(40, 71)
"""First and last row and column of nose and cheeks in an aligned face: skin, hardly ever hair, eyes or background."""
MARGIN = 5.0
"""Skin of every colour reflects more red than blue. In MIDDLE, the mean of R exceeds that of B by more than 5 of 255 in
7,663 of LFW's 7,701 aligned faces; B exceeds R in 2 (0.03 %, both in blue stage light). The others are nearly grey. The
median difference is 55."""
STRAY = 0.02
"""Share of pictures that may disagree before a collection counts as mixed."""

STATS = np.dtype([("width", "i4"), ("height", "i4"), ("pixels", "u8"), ("bits", "u1", 32), ("red", "f4")])
"""What is kept of a picture: 52 bytes, so that millions fit into the memory."""
ImageStats = tuple[int, int, int, Bits, float]
"""Width, height, hash of the pixels, difference hash, red minus blue."""

_folder: FaceFolder
"""In a worker process only: its collection, which is too large to be sent with every task."""


@dataclass(frozen=True)
class Channels:
    """Whether red and blue are in the right order, judged by the colour of skin.

    Attributes:
        verdict: `rgb` or `swapped` if at most STRAY of the pictures (or two) disagree, otherwise `mixed`; `unknown` if
            all pictures are grey.
        right: Number of pictures with more red than blue by MARGIN.
        swapped: Number of pictures with more blue than red by MARGIN.
        suspects: Names of the swapped pictures.
    """

    verdict: Literal["rgb", "swapped", "mixed", "unknown"]
    right: int
    swapped: int
    suspects: tuple[str, ...]


@dataclass(frozen=True)
class Report:
    """The result of `check`.

    Attributes:
        pictures: Number of pictures that were checked.
        people: Number of people in the whole collection.
        alone: Number of people with a single picture in the whole collection.
        corrupt: Name -> what was found instead of a picture.
        wrong_size: Name -> (width, height), if it is not 112x112.
        duplicates: Groups of names with the same pixels.
        near_duplicates: Pairs of names of nearly the same picture under different people.
        channels: The order of red and blue.
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
        """Whether there is no fault. People with one picture and single suspects (blue light) are not faults."""
        found = self.corrupt or self.wrong_size or self.duplicates or self.near_duplicates
        return not found and self.channels.verdict in ("rgb", "unknown")


def check(folder: FaceFolder, names: Sequence[str], workers: int, progress: Callable[[int], None]) -> Report:
    """Check pictures and compare them with each other.

    Args:
        folder: The collection.
        names: The pictures to check.
        workers: Number of processes.
        progress: Called with 1 for every picture.

    Returns:
        The faults.

    Raises:
        EdgefrError: A worker process died.
    """
    stats = np.zeros(len(names), STATS)
    sound = np.zeros(len(names), bool)
    corrupt: dict[str, str] = {}
    for index, found in enumerate(_measure_all(folder, names, workers)):
        if isinstance(found, str):
            corrupt[names[index]] = found
        else:
            stats[index], sound[index] = found, True
        progress(1)
    kept = np.flatnonzero(sound)
    stats = stats[kept]

    def name(row: SupportsInt) -> str:
        return names[int(kept[int(row)])]

    wrong = np.flatnonzero((stats["width"] != FACE_SIZE) | (stats["height"] != FACE_SIZE))
    pictures = Counter(map(person_of, folder.names))
    return Report(
        pictures=len(names),
        people=len(pictures),
        alone=sum(count == 1 for count in pictures.values()),
        corrupt=corrupt,
        wrong_size={name(row): (int(stats["width"][row]), int(stats["height"][row])) for row in wrong},
        duplicates=tuple(tuple(map(name, group)) for group in equal_groups(stats["pixels"])),
        near_duplicates=tuple(_near_duplicates(stats, name)),
        channels=_channels(stats["red"], name),
    )


def red_over_blue(image: Image) -> float:
    """Mean of R minus mean of B in the middle of a face (H, W, 3) that is aligned in proportion."""
    height, width = image.shape[:2]
    top, bottom = MIDDLE[0].start * height // FACE_SIZE, MIDDLE[0].stop * height // FACE_SIZE
    left, right = MIDDLE[1].start * width // FACE_SIZE, MIDDLE[1].stop * width // FACE_SIZE
    mean = image[top : bottom + 1, left : right + 1].mean(axis=(0, 1))
    return float(mean[0] - mean[2])


def _near_duplicates(stats: npt.NDArray[np.void], name: Callable[[SupportsInt], str]) -> Iterator[tuple[str, str]]:
    """Near duplicates of different people, without the exact ones."""
    for first, second in near_pairs(stats["bits"]).tolist():
        if stats["pixels"][first] != stats["pixels"][second] and person_of(name(first)) != person_of(name(second)):
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


def _measure_all(folder: FaceFolder, names: Sequence[str], workers: int) -> Iterator[ImageStats | str]:
    """The statistics of every picture, in order, or what was found instead of a picture."""
    if workers == 1:
        yield from map(partial(_measure, folder), names)
        return
    chunks = (names[start : start + CHUNK] for start in range(0, len(names), CHUNK))
    # Spawned, because the threads of OpenCV and of the progress bar do not survive a fork.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, _start_worker, (replace(folder, names=()),)) as pool:
        try:
            for rows in pool.map(_measure_chunk, chunks):
                yield from rows
        except BrokenProcessPool as error:
            raise EdgefrError(
                f"to check every picture in {folder.path}",
                "that a worker process died",
                "use --workers 1, or fewer workers if memory is short",
            ) from error


def _measure(folder: FaceFolder, name: str) -> ImageStats | str:
    try:
        image = folder.read(name)
    except UnreadableImageError as error:
        return error.found
    height, width = image.shape[:2]
    return width, height, pixel_hash(image), difference_hash(image), red_over_blue(image)


def _start_worker(folder: FaceFolder) -> None:
    """Prepare a worker process: keep the collection, and use OpenCV without threads of its own."""
    global _folder
    _folder = folder
    cv2.setNumThreads(1)


def _measure_chunk(names: Sequence[str]) -> list[ImageStats | str]:
    return [_measure(_folder, name) for name in names]
